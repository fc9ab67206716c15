"""What every HTTP server of the job shares."""
