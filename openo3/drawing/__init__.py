"""Evidence on frames, timelines and in texts, as markup that any page can hold."""
