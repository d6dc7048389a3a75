/* SPDX-License-Identifier: MIT */
/* Built with -Dfailpoints=true only. */
#include "test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"

static void points(void **state)
{
	int status;
	pid_t pid;
	(void)state;
	assert_int_equal(imgo__failpoint("none"), 0);
	assert_int_equal(imgo__failpoint("a.err"), IMGO_EIO);
	assert_int_equal(imgo__failpoint("a.sleep"), 0);
	for (int i = 1; i <= 9; i++)
		assert_int_equal(imgo__failpoint("a.every"), i % 3 == 0 ? IMGO_EIO : 0);
	assert_int_equal(imgo__failpoint("a.delay"), 0);
	assert_int_equal(imgo__failpoint_delay_ms("a.delay"), 50);
	assert_int_equal(imgo__failpoint_delay_ms("a.err"), 0);
	pid = fork();
	if (pid == 0)
		imgo__failpoint("a.exit");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 86);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(points)};
	setenv("IMGO_FAILPOINT", "a.exit:exit,a.sleep:sleep=1,a.err:err,a.every:every=3,a.delay:delay=50", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
