// SPDX-License-Identifier: GPL-2.0-only
#include "cli/verb.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/output.h"
#include "keel/vmm.h"

const struct verb verbs[] = {
	{ .name = "run",
	  .args = "",
	  .summary = "run a virtual machine; without a kernel, the embedded demo",
	  .text = "Builds a machine from the options and runs it in this process until it ends. "
		  "What keel run ends with is how the machine ended; see keel help for the codes."
		  "\n\nOn a terminal, and with a kernel of your own, keel run is the guest's "
		  "serial "
		  "console: Ctrl-A x ends the machine, Ctrl-A a sends Ctrl-A, Ctrl-A h shows this.",
	  .options = &run_options_schema,
	  .flags = VERB_MACHINE,
	  .run = verb_run },
	{ .name = "ps",
	  .args = "",
	  .summary = "list the running virtual machines",
	  .text = "One line for each VM of the runtime directory. A VM that does not answer within "
		  "five seconds is listed with the state \"silent\".",
	  .options = &ps_options_schema,
	  .run = verb_ps },
	{ .name = "info",
	  .args = "[NAME]",
	  .summary = "show a VM's machine, vCPUs and devices",
	  .text = "Without a name it means the one VM that runs.",
	  .options = &info_options_schema,
	  .flags = VERB_VM,
	  .max_args = 1,
	  .run = verb_info },
	{ .name = "pause",
	  .args = "[NAME]",
	  .summary = "stop a VM's vCPUs, keeping everything",
	  .text = "Returns when no vCPU runs and no device touches guest memory. Without a name it "
		  "means the one VM that runs.",
	  .flags = VERB_VM,
	  .max_args = 1,
	  .run = verb_pause },
	{ .name = "resume",
	  .args = "[NAME]",
	  .summary = "let a paused VM go on",
	  .text = "Without a name it means the one VM that runs.",
	  .flags = VERB_VM,
	  .max_args = 1,
	  .run = verb_resume },
	{ .name = "stop",
	  .args = "[NAME]",
	  .summary = "press a VM's power button and wait for its end",
	  .text = "The guest is asked to shut down and keel stop waits for it. A guest that does "
		  "not react goes on running; --force ends it at once, as if the power were cut. "
		  "Without a name it means the one VM that runs.",
	  .options = &stop_options_schema,
	  .flags = VERB_VM,
	  .max_args = 1,
	  .run = verb_stop },
	{ .name = "balloon",
	  .args = "[NAME [SIZE]]",
	  .summary = "show or change how much memory a VM gives up",
	  .text = "With SIZE the guest is told to give up that much of its memory, which goes back "
		  "to the host; 0 lets it have all again. The guest follows when and as far as "
		  "it can. TARGET is what it was told, ACTUAL what it gave up, GIVEN BACK all "
		  "that went back to the host so far, also without being told to (free page "
		  "reporting). The VM must run with --balloon. Without a name it means the one VM "
		  "that runs.",
	  .options = &balloon_options_schema,
	  .flags = VERB_VM,
	  .max_args = 2,
	  .run = verb_balloon },
	{ .name = "resize",
	  .args = "NAME DISK [SIZE]",
	  .summary = "give a disk of a running VM another size",
	  .text = "DISK is the device's name as keel info shows it: disk0 is the first --disk. The "
		  "image file is extended (or, with --shrink, cut) to SIZE, and the guest is told. "
		  "Without SIZE the disk takes the size that its file or block device has by now, "
		  "which is the only way with a block device.",
	  .options = &resize_options_schema,
	  .flags = VERB_VM,
	  .max_args = 3,
	  .run = verb_resize },
	{ .name = "console",
	  .args = "[NAME]",
	  .summary = "attach to a VM's serial console or one of its ports",
	  .text = "Shows the last output, then follows it; what you type goes to the guest. Ctrl-A "
		  "x detaches and leaves the VM running, Ctrl-A a sends Ctrl-A. Any number of "
		  "people may be attached at once. When standard input is not a terminal it is "
		  "sent as it is, and its end does not detach. Without a name it means the one VM "
		  "that runs."
		  "\n\n--port attaches to a port of keel run --port instead. The terminal of one "
		  "with console=on has the size of yours, also when that changes.",
	  .options = &console_options_schema,
	  .flags = VERB_VM,
	  .max_args = 1,
	  .run = verb_console },
	{ .name = "inspect",
	  .args = "[NAME | FILE.dtb]",
	  .summary = "show a machine's configuration or its device tree",
	  .text = "Of a running VM, of a machine.dtb file, or of the machine that the options "
		  "describe (nothing is started). The configuration is printed as JSON that keel "
		  "run --config takes; --dtb prints the machine as a flattened device tree, "
		  "machine.dtb, for dtc:"
		  "\n\n  keel inspect --dtb --cpus 4 | dtc -I dtb",
	  .options = &inspect_options_schema,
	  .flags = VERB_MACHINE | VERB_VM | VERB_FILE,
	  .max_args = 1,
	  .run = verb_inspect },
	{ .name = "cpu",
	  .args = "show [MODEL] | baseline MODEL MODEL... | diff MODEL MODEL",
	  .summary = "show, intersect and compare CPU models",
	  .text = "A MODEL is what keel run --cpu takes: host, the name of a level (x86-64-v1 to "
		  "x86-64-v4), or a file; then any number of ,+FLAG and ,-FLAG. Flags have the "
		  "names of /proc/cpuinfo. What depends on a removed flag goes with it, what an "
		  "added one needs comes with it."
		  "\n\nshow tells what a model (host unless given) shows a guest; with --json as "
		  "a file for baseline. baseline prints the model that all its hosts can show, for "
		  "a VM that shall move between them:"
		  "\n\n  keel cpu show --json > a.json           (on each host)"
		  "\n  keel cpu baseline a.json b.json > both.json"
		  "\n  keel run --cpu both.json ..."
		  "\n\ndiff lists what differs and why, and exits with 0 when nothing does, 1 when "
		  "something does, 2 when it can't tell.",
	  .options = &cpu_options_schema,
	  .flags = VERB_FILE,
	  .max_args = 65,
	  .run = verb_cpu },
	{ .name = "guests",
	  .args = "[FILE]",
	  .summary = "list the guests embedded in keel",
	  .text = "Each runs with keel run --kernel builtin:NAME. --extract writes one to FILE "
		  "(NAME.elf unless given, - for standard output); other VMMs that boot PVH ELF "
		  "files can run it too.",
	  .options = &guests_options_schema,
	  .flags = VERB_FILE,
	  .max_args = 1,
	  .run = verb_guests },
	{ .name = "version",
	  .args = "",
	  .summary = "show keel's version",
	  .text = "Prints keel's version.",
	  .options = &version_options_schema,
	  .run = verb_version },
	{ .name = "help",
	  .args = "[VERB]",
	  .summary = "explain keel or one of its verbs",
	  .text = "keel VERB --help says the same as keel help VERB. The options print the "
		  "documents that are made from the same tables.",
	  .options = &help_options_schema,
	  .flags = VERB_VERB,
	  .max_args = 1,
	  .run = verb_help },
};
const unsigned nr_verbs = ARRAY_SIZE(verbs);

const struct verb *verb_find(const char *name)
{
	for (unsigned i = 0; i < nr_verbs; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int unknown_verb(const char *name)
{
	const char *names[ARRAY_SIZE(verbs)];
	const char *nearest;

	for (unsigned i = 0; i < nr_verbs; i++)
		names[i] = verbs[i].name;
	nearest = nearest_word(name, names, nr_verbs);
	if (nearest)
		return cli_error(VMM_EXIT_USAGE, "unknown verb \"%s\"; did you mean keel %s?", name,
				 nearest);
	if (name[0] == '-')
		return cli_error(VMM_EXIT_USAGE,
				 "a verb comes first: keel run %s ...; see keel help", name);
	return cli_error(VMM_EXIT_USAGE, "unknown verb \"%s\"; see keel help", name);
}

static int dispatch(int argc, char **argv)
{
	const struct verb *verb;
	struct invocation inv;
	struct err err = ERR_INIT;
	int code;

	verb = verb_find(argc ? argv[0] : "help");
	if (argc && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")))
		verb = verb_find("help");
	if (argc && (!strcmp(argv[0], "--version") || !strcmp(argv[0], "-V")))
		verb = verb_find("version");
	if (!verb)
		return unknown_verb(argv[0]);
	if (options_parse(verb, argc ? argc - 1 : 0, argv + (argc ? 1 : 0), &inv, &err)) {
		code = cli_fail(&err, true);
	} else if (inv.help) {
		code = verb_help(&inv);
	} else {
		code = verb->run(&inv);
	}
	invocation_free(&inv);
	return code;
}

/* A later open() must never land on 0, 1 or 2, where output meant for people would go into it. */
static void open_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	int code;

	/*
	 * Threads allocate little and rarely: an arena for each would cost a VM of many vCPUs
	 * memory, and every VM system calls when it ends.
	 */
	mallopt(M_ARENA_MAX, 1);
	open_standard_fds();
	code = dispatch(argc ? argc - 1 : 0, argv + (argc ? 1 : 0));
	if (fflush(stdout) || ferror(stdout)) {
		cli_error(VMM_EXIT_HOST, "cannot write to standard output");
		if (!code)
			code = VMM_EXIT_HOST;
	}
	return code;
}
