#ifndef GREETING_H
#define GREETING_H

#include <stddef.h>

/* Writes a greeting for `who` into `text`; returns its length, or 0 if it does not fit. */
size_t greet(const char *who, char *text, size_t size);

#endif
