"""When to poll: the wait until a job's next poll, the queue of due times, the next turn."""
