# What may follow is asked of rbuild itself; where nothing is known, files are offered.
function __rbuild_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command rbuild complete -- $words[2..-1] 2>/dev/null)
    if test (count $lines) -gt 0
        printf '%s\n' $lines
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c rbuild -f -a '(__rbuild_complete)'
