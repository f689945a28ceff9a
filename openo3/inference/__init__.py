"""Asking a model about a clip of one's own: `model.load`, `Model.ask`, and the `Answer` with its evidence."""
