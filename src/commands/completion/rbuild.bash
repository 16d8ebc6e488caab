# What may follow is asked of rbuild itself.
_rbuild() {
    local words=() cur cut line
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:COMP_POINT-1:1} == [[:space:]] ]] && words+=("")
    cur=${words[-1]}
    # Bash replaces what stands behind the last of these, and wants no more than that.
    cut=""
    [[ $cur == *[:=]* ]] && cut=${cur%"${cur##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        COMPREPLY+=("${line#"$cut"}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
}
# Where nothing is known, files are offered.
complete -o bashdefault -o default -F _rbuild rbuild
