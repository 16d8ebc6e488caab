//! The rules, one file each.

mod ambiguous_destination;
mod arg_overrides_env;
mod consistent_instruction_casing;
mod copy_ignored_file;
mod duplicate_stage_name;
mod expose_invalid_format;
mod expose_proto_casing;
mod foreign_syntax;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_base_image_platform;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod redundant_target_platform;
mod reserved_stage_name;
mod secrets_used_in_arg_or_env;
mod stage_name_casing;
mod undeclared_build_arg;
mod undefined_arg_in_from;
mod undefined_var;
mod unknown_signal;
mod unusual_owner;
mod words_like_json;
mod workdir_relative_path;

pub use secrets_used_in_arg_or_env::is_secret;

use super::Rule;

/// Every rule there is.
pub const RULES: &[Rule] = &[
    stage_name_casing::RULE,
    from_as_casing::RULE,
    consistent_instruction_casing::RULE,
    no_empty_continuation::RULE,
    duplicate_stage_name::RULE,
    reserved_stage_name::RULE,
    json_args_recommended::RULE,
    maintainer_deprecated::RULE,
    undefined_arg_in_from::RULE,
    undefined_var::RULE,
    workdir_relative_path::RULE,
    multiple_instructions_disallowed::RULE,
    legacy_key_value_format::RULE,
    invalid_base_image_platform::RULE,
    redundant_target_platform::RULE,
    secrets_used_in_arg_or_env::RULE,
    invalid_default_arg_in_from::RULE,
    from_platform_flag_const_disallowed::RULE,
    copy_ignored_file::RULE,
    invalid_definition_description::RULE,
    expose_proto_casing::RULE,
    expose_invalid_format::RULE,
    undeclared_build_arg::RULE,
    arg_overrides_env::RULE,
    ambiguous_destination::RULE,
    foreign_syntax::RULE,
    unusual_owner::RULE,
    unknown_signal::RULE,
    words_like_json::RULE,
];
