"""Shared by the three programs: exit codes, files, configuration, locks, progress, suggestions, printing."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    arrays=(
        "BoolArray Float32Array Float64Array FloatArray Int16Array Int32Array Int64Array IntegerArray "
        "UInt64Array UInt8Array"
    ),
    commands="run_app",
    config_files="ConfigLocation ConfigPath StrictModel apply_overrides load_config read_yaml validate with_paths "
    "with_present_names",
    csv_cells="cell_text csv_cell csv_cells csv_row",
    exports="lazy_exports",
    file_lock="locked",
    files="LeftoverParts exists is_own_output mark_as_written part_file part_folder part_path path_in_errors "
    "remove_leftover_parts system_message write_atomically",
    lines="full_lines is_comment numbered_lines one_line plain_blanks printable quoted shortened valid_text",
    outputs="OutputError check_outputs file_name_of folder_and_stem is_inside refuse_links_out write_outputs",
    printing="Row counted new_console print_counts print_json print_line print_text splits_text",
    progress="ProgressBar track",
    stop="StopRequest end_by_signal",
    suggest="Spellings did_you_mean did_you_mean_inside near",
    yaml_values="YamlProblem parse_yaml",
)
