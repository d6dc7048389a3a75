/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over corpora without libFuzzer, in the ordinary tests and with any compiler: each file
 *as it is, each of its beginnings, and each with one byte changed (a fixed set of values), so that a small
 *corpus goes far.
 *
 *	replay DIRECTORY-OR-FILE...
 */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

#define FILE_MAX   (1 << 20)
#define VARIED_MAX 600 /* bytes of a file that are varied */

static unsigned files;

static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);

	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void run_varied(uint8_t *data, size_t size)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xFF, 0x20, 0x0A};

	run(data, size);
	for (size_t i = 0; i < size && i < VARIED_MAX; i++) {
		uint8_t kept = data[i];
		run(data, i);
		for (size_t k = 0; k < sizeof flips; k++) {
			data[i] = kept ^ flips[k];
			run(data, size);
		}
		data[i] = kept;
	}
}

static void replay_file(const char *path)
{
	uint8_t *data = malloc(FILE_MAX);
	FILE *f = fopen(path, "rb");

	if (!f || !data) {
		perror(path);
		exit(1);
	}
	run_varied(data, fread(data, 1, FILE_MAX, f));
	files++;
	fclose(f);
	free(data);
}

static void replay(const char *path)
{
	struct stat st;
	struct dirent *entry;
	char inside[4096];
	DIR *dir;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		replay_file(path);
		return;
	}
	dir = opendir(path);
	if (!dir) {
		perror(path);
		exit(1);
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
		replay(inside);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%u files\n", files);
	return files == 0;
}
