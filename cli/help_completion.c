// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/help.h"

/*
 * Bash splits words at "=" and ":", Keel does not: the script looks at the line itself and hands
 * back only what follows the last of the two. Everything that depends on Keel's tables is in the
 * three functions above it, which are generated.
 */
static const char script[] =
	"_keel_names() { keel ps 2>/dev/null | awk 'NR > 1 { print $1 }'; }\n"
	"_keel_guests() { keel guests 2>/dev/null | awk -v p=\"$1\" 'NR > 1 { print p $1 }'; }\n"
	"\n"
	"# Candidates for the value $3 of option $2 of verb $1; $4 stands before them.\n"
	"_keel_value() {\n"
	"\tlocal takes word=$3 head=$4 w\n"
	"\ttakes=$(_keel_takes \"$1\" \"$2\")\n"
	"\tif [[ $takes == keys* ]]; then\n"
	"\t\thead+=${word%\"${word##*,}\"}\n"
	"\t\tword=${word##*,}\n"
	"\t\tif [[ $word == *=* ]]; then\n"
	"\t\t\t_keel_value \"$1\" \"$2.${word%%=*}\" \"${word#*=}\" \"$head${word%%=*}=\"\n"
	"\t\t\treturn\n"
	"\t\tfi\n"
	"\t\tcompopt -o nospace\n"
	"\tfi\n"
	"\tcase $takes in\n"
	"\tfile*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;&\n"
	"\tfile\\ kernel) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$(_keel_guests "
	"builtin:)\" -- \"$word\") ;;\n"
	"\tfile*) ;;\n"
	"\tguests) mapfile -t COMPREPLY < <(compgen -W \"$(_keel_guests)\" -- \"$word\") ;;\n"
	"\t*) mapfile -t COMPREPLY < <(compgen -W \"${takes#* }\" -- \"$word\") ;;\n"
	"\tesac\n"
	"\tfor w in \"${!COMPREPLY[@]}\"; do COMPREPLY[w]=$head${COMPREPLY[w]}; done\n"
	"}\n"
	"\n"
	"_keel() {\n"
	"\tlocal line=${COMP_LINE:0:COMP_POINT} words cur last verb i kinds\n"
	"\tCOMPREPLY=()\n"
	"\tread -ra words <<<\"$line\"\n"
	"\tif [[ $line == *[[:space:]] ]]; then cur=; else cur=${words[-1]}; unset 'words[-1]'; "
	"fi\n"
	"\tlast=${words[-1]} verb=${words[1]}\n"
	"\tif [[ ${#words[@]} -le 1 ]]; then\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_keel_verbs)\" -- \"$cur\")\n"
	"\telif [[ $cur == --*=* ]]; then\n"
	"\t\t_keel_value \"$verb\" \"${cur%%=*}\" \"${cur#*=}\" \"${cur%%=*}=\"\n"
	"\telif [[ $last == --* && $(_keel_takes \"$verb\" \"$last\") ]]; then\n"
	"\t\t_keel_value \"$verb\" \"$last\" \"$cur\" ''\n"
	"\telif [[ $cur == -* ]]; then\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_keel_options \"$verb\")\" -- \"$cur\")\n"
	"\telse\n"
	"\t\tkinds=$(_keel_args \"$verb\")\n"
	"\t\t[[ $kinds == *verb* ]] && mapfile -t COMPREPLY < <(compgen -W \"$(_keel_verbs)\" -- "
	"\"$cur\")\n"
	"\t\t[[ $kinds == *name* ]] && mapfile -t COMPREPLY < <(compgen -W \"$(_keel_names)\" -- "
	"\"$cur\")\n"
	"\t\tif [[ $kinds == *file* ]]; then\n"
	"\t\t\tcompopt -o filenames\n"
	"\t\t\tmapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
	"\t\tfi\n"
	"\tfi\n"
	"\tlast=${cur%\"${cur##*[=:]}\"}\n"
	"\tfor i in \"${!COMPREPLY[@]}\"; do COMPREPLY[i]=${COMPREPLY[i]#\"$last\"}; done\n"
	"}\n"
	"complete -F _keel keel\n";

static bool takes_file(const struct field *field)
{
	return field->type == FIELD_STRING &&
	       (field->flags & FIELD_HOST || (field->metavar && (!strcmp(field->metavar, "FILE") ||
								 !strcmp(field->metavar, "PATH"))));
}

/* One line of _keel_takes(): what may follow the option or key. */
static void print_takes(const char *verb, const char *name, const char *key,
			const struct field *field)
{
	if (field->type == FIELD_BOOL && strcmp(verb, "*") != 0)
		return; /* a verb's own flag takes nothing */
	printf("\t%s:--%s%s%s) echo '", verb, name, key ? "." : "", key ? key : "");
	if (!strcmp(name, "extract"))
		fputs("guests", stdout);
	else if (!strcmp(name, "kernel"))
		fputs("file kernel", stdout);
	else if (takes_file(field))
		fputs("file", stdout);
	else if (field->type == FIELD_BOOL)
		fputs("words on off", stdout);
	else if (field->type == FIELD_ENUM) {
		fputs("words", stdout);
		for (unsigned i = 0; field->names[i]; i++)
			printf(" %s", field->names[i]);
	} else
		fputs("words ", stdout);
	puts("' ;;");
}

static void print_section(const struct option *option)
{
	const struct schema *schema = option->schema;

	printf("\t*:--%s) echo 'keys", option->name);
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		printf(" %s=", field->name);
		for (unsigned k = 0; field->flags & FIELD_SWITCH && field->names[k]; k++)
			printf(" %s", field->names[k]);
	}
	puts("' ;;");
	for (unsigned i = 0; i < schema->nr_fields; i++)
		print_takes("*", option->name, schema->fields[i].name, &schema->fields[i]);
}

static void print_values(void)
{
	struct option option;

	puts("\n# What follows option $2 (or its key, --option.key) of verb $1.\n"
	     "_keel_takes() {\n\tcase $1:$2 in");
	for (unsigned v = 0; v < nr_verbs; v++)
		for (unsigned i = 0; option_at(&verbs[v], i, &option); i++)
			if (!option.section)
				print_takes(verbs[v].name, option.name, NULL, option.field);
	for (unsigned i = 0; option_at(verb_find("run"), i, &option); i++) {
		if (option.section && option.field)
			print_takes("*", option.name, NULL, option.field);
		else if (option.section)
			print_section(&option);
	}
	puts("\tesac\n}");
}

static void print_lists(void)
{
	struct option option;

	fputs("_keel_verbs() { echo '", stdout);
	for (unsigned v = 0; v < nr_verbs; v++)
		printf("%s%s", v ? " " : "", verbs[v].name);
	puts("'; }\n\n_keel_options() {\n\tcase $1 in");
	for (unsigned v = 0; v < nr_verbs; v++) {
		printf("\t%s) echo '--help", verbs[v].name);
		for (unsigned i = 0; option_at(&verbs[v], i, &option); i++)
			printf(" --%s", option.name);
		puts("' ;;");
	}
	puts("\tesac\n}\n\n_keel_args() {\n\tcase $1 in");
	for (unsigned v = 0; v < nr_verbs; v++)
		if (verbs[v].max_args)
			printf("\t%s) echo '%s%s%s' ;;\n", verbs[v].name,
			       verbs[v].flags & VERB_VM ? "name " : "",
			       verbs[v].flags & VERB_FILE ? "file " : "",
			       verbs[v].flags & VERB_VERB ? "verb " : "");
	puts("\tesac\n}");
}

void help_completion(void)
{
	puts("# bash completion for keel; made by keel help --completion from keel's own "
	     "tables.\n");
	print_lists();
	print_values();
	putchar('\n');
	fputs(script, stdout);
}
