"""Where the bytes of world models, agents and dreams lie."""
