/* Prints what follows the last mark in its own file: the program that the stand-in compilers link. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    static const char mark[] = {'\n', '#', '!', 's', 'a', 'y', 's', '\n'};
    struct stat own;
    int file = open("/proc/self/exe", O_RDONLY);
    if (file < 0 || fstat(file, &own) != 0)
        return 1;
    const char *bytes = mmap(0, own.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED)
        return 1;
    for (off_t at = own.st_size - sizeof mark; at >= 0; at--)
        if (memcmp(bytes + at, mark, sizeof mark) == 0) {
            size_t size = own.st_size - at - sizeof mark;
            return write(1, bytes + at + sizeof mark, size) == (ssize_t)size ? 0 : 1;
        }
    return 1;
}
