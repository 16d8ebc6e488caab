#compdef rbuild
# What may follow is asked of rbuild itself.
_rbuild() {
    local -a lines shown
    local line word tab=$'\t'
    lines=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${(@)lines:#}"; do
        # A colon ends the word where there is a description.
        word=${line%%${tab}*}
        shown+=("${word//:/\\:}:${line#*${tab}}")
    done
    # Where nothing is known, files are offered.
    if (( ${#shown} )); then _describe rbuild shown; else _files; fi
}
if [[ ${funcstack[1]} == _rbuild ]]; then _rbuild "$@"; else compdef _rbuild rbuild; fi
