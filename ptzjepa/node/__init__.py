"""Several services in one container: all of them on one machine, or those that a Waggle node runs beside a blade."""
