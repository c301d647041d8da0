"""OpenAI's images API, so that software made for it draws here (docs/openai.md).

    errors    its shape of error, and whether a client shall try again
    orders    from a body in OpenAI's words to an order in ours
    answers   from a task that has ended to the bytes of an answer
    waiting   callers wait for their pictures and hold no thread
    views     the four addresses, below /v1/
    chunked   bodies that come without a length

Orders go the way of all others (generation/intake.py): the same credits, limits and history.
"""
