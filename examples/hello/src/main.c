#include "greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check(void)
{
    char text[16];
    int fits = greet("world", text, sizeof text) == 12 && strcmp(text, "hello, world") == 0;
    int refuses = greet("a name that is too long", text, sizeof text) == 0;
    printf("a short name fits: %s\n", fits ? "yes" : "no");
    printf("a long one is refused: %s\n", refuses ? "yes" : "no");
    return fits && refuses ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **arguments)
{
    const char *who = count > 1 ? arguments[1] : "world";
    if (strcmp(who, "--check") == 0)
        return check();

    char text[256];
    if (greet(who, text, sizeof text) == 0) {
        fprintf(stderr, "hello: the name is too long\n");
        return EXIT_FAILURE;
    }
    printf("%s\n", text);

    const char *note = getenv("HELLO_NOTE");
    FILE *file = note == NULL ? NULL : fopen(note, "r");
    char line[256];
    if (file != NULL && fgets(line, sizeof line, file) != NULL)
        printf("%s", line);
    if (file != NULL)
        fclose(file);
    printf("running as user %u\n", (unsigned)getuid());
    return EXIT_SUCCESS;
}
