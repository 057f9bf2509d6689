"""Tables, pictures and files; reads results, never stages."""
