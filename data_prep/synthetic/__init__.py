"""Generated data sets: scenes of emoji, scenes of photographs."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    emoji_plan="EmojiWorldConfig",
    emoji_table="twemoji_folder",
    emoji_world="write_emoji_world",
    mosaic_world="MosaicWorldConfig write_mosaic_world",
)
