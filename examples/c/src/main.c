#include "words.h"

#include <string.h>

int main(int count, char **names)
{
    int failed = 0;
    for (int at = 1; at < count; at++) {
        FILE *stream = strcmp(names[at], "-") ? fopen(names[at], "r") : stdin;
        if (!stream) {
            perror(names[at]);
            failed = 1;
            continue;
        }
        printf("%lu %s\n", words_count(stream), names[at]);
        if (stream != stdin)
            fclose(stream);
    }
    return failed;
}
