"""How a server is asked: its address, a client for it, one request with retries, pictures on their way. Shared by every part that asks one."""
