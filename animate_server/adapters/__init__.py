"""Adapters: the ports over this server's store, folders and settings."""
