"""The model store: directories, S3, SFTP, retention."""
