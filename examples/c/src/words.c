#include "words.h"

#include <ctype.h>

unsigned long words_count(FILE *stream)
{
    unsigned long words = 0;
    int inside = 0;
    for (int letter; (letter = getc(stream)) != EOF;) {
        int blank = isspace(letter);
        words += !blank && !inside;
        inside = !blank;
    }
    return words;
}
