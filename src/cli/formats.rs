//! What help says of `--format`, with examples of the verb at hand.

/// Of verbs that print a table: the columns of an own one, and a template.
pub(crate) fn of_list(columns: &str, template: &str) -> String {
    format!(
        "Formats:\n  \
         table              A table (the default)\n  \
         table TEMPLATE     A table of your own columns: 'table {columns}'\n  \
         json               JSON\n  \
         TEMPLATE           A Go template: '{template}'"
    )
}

/// Of verbs that print all that is known of something: a template.
pub(crate) fn of_inspect(template: &str) -> String {
    format!(
        "Formats:\n  \
         json               JSON on one line (on several without a format)\n  \
         TEMPLATE           A Go template: '{template}'"
    )
}
