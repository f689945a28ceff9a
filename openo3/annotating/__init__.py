"""From a folder of clips to STGR records: a model behind an endpoint writes them, filters check them.

clips       the videos and images of a folder, and the user's questions
asking      what the endpoint is asked, and the memory of what it said
reading     a reply, by JSON schema or in the evidence grammar -> candidates
filters     what a candidate must pass; some filters ask the endpoint again
run         all of it, for many clips at a time, and the files that come out
"""
