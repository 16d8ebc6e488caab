#compdef rbuild
# What may follow is asked of rbuild itself.
_rbuild() {
    local -a lines shown
    local line
    lines=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${(@)lines:#}"; do
        if [[ $line == *$'\t'* ]]; then
            shown+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        else
            shown+=("${line//:/\\:}")
        fi
    done
    # Where nothing is known, files are offered.
    if (( ${#shown} )); then _describe rbuild shown; else _files; fi
}
if [[ ${funcstack[1]} == _rbuild ]]; then _rbuild "$@"; else compdef _rbuild rbuild; fi
