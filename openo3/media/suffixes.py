"""The endings of names by which files are looked for; the content of a file decides what it is."""

VIDEO_SUFFIXES = (
    ".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob", ".wmv",
    ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".rm", ".rmvb", ".mxf", ".gif",
)  # fmt: skip
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".mpo")
