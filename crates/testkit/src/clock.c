/* The machine's clock of one process, set by so many seconds; kept right by somebody, if the second
   number is not 0. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *numbers;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SIPWARD_TEST_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *shared = mmap(NULL, 2 * sizeof(*numbers), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (shared != MAP_FAILED)
		numbers = shared;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int failed = (int)syscall(SYS_clock_gettime, clock, time);
	if (!failed && clock == CLOCK_REALTIME && numbers)
		time->tv_sec += numbers[0];
	return failed;
}

int gettimeofday(struct timeval *time, void *zone)
{
	int failed = (int)syscall(SYS_gettimeofday, time, zone);
	if (!failed && numbers)
		time->tv_sec += numbers[0];
	return failed;
}

int adjtimex(struct timex *time)
{
	int state = (int)syscall(SYS_adjtimex, time);
	if (state < 0 || !numbers || !numbers[1])
		return state;
	time->status &= ~STA_UNSYNC;
	return TIME_OK;
}
