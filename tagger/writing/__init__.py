"""Tags into photos' metadata: what is asked, which photos it is about, and a chunk of them written.

Files are changed in metadata, which knows no SQL; here is what SQL has to say before and after.
"""
