"""Packed images: the HDF5 files, their format, and the encoding of images."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    catalogue="Catalogue CatalogueBuilder",
    columns="check_shapes read_shard_columns",
    decoding="IMAGE_SUFFIXES ImageError decode rgb_of rgb_pixels stored_header upright_rgb_pixels",
    format="Arrays ShardError hash_file hash_frame open_hdf5 shard_name",
    frame="open_shard",
    hdf5_files="new_hdf5 write_format",
    hdf5_reader="Column Hdf5Error Hdf5File",
    image_files="read_bytes read_image_file",
    images="BoxFrame ImageRules box_frame",
    offsets="fits offsets_of offsets_without owner_of_rows rows_of",
    source_ids="SourceIds read_source_ids",
    writer="ShardJob ShardResult write_shard",
)
