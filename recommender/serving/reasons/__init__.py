"""Why a song is in a list: sentences, cluster names in the reader's language, the JSON of served lists."""
