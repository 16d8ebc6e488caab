#include "greeting.h"

#include <stdio.h>

size_t greet(const char *who, char *text, size_t size)
{
    int length = snprintf(text, size, "hello, %s", who);
    return length < 0 || (size_t)length >= size ? 0 : (size_t)length;
}
