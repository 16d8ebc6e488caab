#ifndef WORDS_H
#define WORDS_H

#include <stdio.h>

/* Counts the words of a stream, which blanks and line ends separate. */
unsigned long words_count(FILE *stream);

#endif
