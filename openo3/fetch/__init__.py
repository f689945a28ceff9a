"""Fetch annotations and exactly the media they name into `data/raw`, from folders and from the network.

plan           files with their origins, and the files that are missing
random_access  random access to bytes: a local file, the parts of a split archive
http           random access by HTTP ranges; reconnects when a connection breaks or is too slow
addresses      refuses redirects into private networks
deadlines      limits how long one wait for a server may take
hub            files of a hub dataset at one commit
zips, tars     members of archives, without unpacking the rest
unpacking      decompression within bounds
path_suffixes  finds files by the longest matching end of their path
places         opens and searches the places that the catalogue names
local          a plan from the user's own folder
published      a plan from the catalogue (`openo3.annotations.catalogue`)
joined         the plans of several sources as one
batches        groups files that one pass over one archive yields
checks         size, digest and type of a file, checked while it arrives
sync           makes a folder hold what a plan says
"""
