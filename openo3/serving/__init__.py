"""A model behind an OpenAI-compatible address, with a page for people.

    limits      what a request may cost, and how many there may be
    errors      refusals in the form that OpenAI's clients understand
    chat        what a request asks for, checked
    clips       the clip of a request as a temporary file, wherever it comes from
    decoders    engines that write many answers at once
    scheduler   the queue in front of a decoder, and its thread
    replies     answers and chunks as OpenAI's clients read them
    security    who may ask, from where, and what the page may load
    connections how long one may ask or read nothing
    app         the routes, put together

The server keeps nothing of a request: a clip is deleted once its frames are decoded, an uploaded file when
the question about it is answered, and texts are neither written to disk nor logged.
"""
