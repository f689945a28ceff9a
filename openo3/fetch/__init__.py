"""Getting annotations and exactly the media they name into `data/raw`, from folders and from the network.

plan       files with their origins, and what is not to be had
blob       bytes that can be read from anywhere: a file here, the parts of a split archive
http       the same over HTTP ranges, mended when the connection breaks
hub        files of a hub dataset at one commit
zips tars  members of archives, without the rest of the archive
endings    files found by the longest matching end of their path
places     where the entries of the catalogue say that files are, opened and searched
local      a plan from a folder of the user's own
published  a plan from the catalogue (`openo3.annotations.catalogue`)
batches    files that one pass over one archive brings
checks     what a file must be, held against what comes
sync       bring a folder to what a plan says
"""
