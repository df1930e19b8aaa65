"""Untrusted files read in bounded memory: JSON, CSV, text, tar, image folders."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    csv_table="CsvTable csv_rows open_table plain_name",
    image_folder="FoundImage ImageFolder NotFound is_hidden spellings walk",
    json_stream="JsonText open_json",
    tar="Member TarSpan members refuse_compressed whole_tar",
    text_lines="NO YES is_yes number text_lines",
)
