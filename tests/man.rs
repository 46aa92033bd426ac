//! The man pages tell what is there: seglog(3) names every function of the header with its prototype and every status,
//! and nothing that does not exist; its example compiles, runs and prints what the page says; `make install` puts the
//! pages, and one by the name of each function, where `man` finds them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Finished, TIME_OUT, TempDir};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const OVERVIEW: &str = "man/seglog.3";
const FILES: &str = "man/seglog.5";

fn read(relative: &str) -> String {
    fs::read_to_string(common::path(relative)).unwrap()
}

/// The header without its comments.
fn header_code() -> String {
    let header = read("include/seglog.h");
    let mut code = String::new();
    for (n, part) in header.split("/*").enumerate() {
        code.push_str(if n == 0 { part } else { part.split_once("*/").unwrap().1 });
    }
    code.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// What the header defines, in its order.
fn constants() -> Vec<String> {
    let code = header_code();
    let defined = code.lines().filter_map(|line| line.strip_prefix("#define ")).filter_map(|line| line.split_once(' '));
    defined.map(|(name, _)| name.to_owned()).collect()
}

/// The functions of the header, as they are declared, each in one line.
fn declared() -> Vec<String> {
    let code = header_code();
    let code: String = code.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
    let (_, functions) = code.split_once("extern \"C\" {").unwrap();
    let statements = functions.split(';').filter(|statement| statement.contains('('));
    statements.map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The name in a declaration.
fn name(declaration: &str) -> &str {
    let before = declaration.split('(').next().unwrap();
    before.rsplit([' ', '*']).next().unwrap()
}

/// The words of a line of mdoc: quotes hold several together.
fn arguments(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('"').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The functions that the overview lists, as the header would declare them.
fn listed() -> Vec<String> {
    let page = read(OVERVIEW);
    let items = page.lines().filter(|line| line.starts_with(".It ") && line.contains("Fn ")).map(arguments);
    let declaration = |item: Vec<String>| {
        let (result, function) = match &item[1..] {
            [ft, result, fun, rest @ ..] if ft == "Ft" && fun == "Fn" => (result.as_str(), rest),
            [fun, rest @ ..] if fun == "Fn" => ("log_status_t", rest),
            _ => panic!("what is {item:?}?"),
        };
        let space = if result.ends_with('*') { "" } else { " " };
        format!("{result}{space}{}({})", function[0], function[1..].join(", "))
    };
    items.map(declaration).collect()
}

/// The lines of a section of the overview.
fn section(title: &str) -> Vec<String> {
    let page = read(OVERVIEW);
    let behind = page.lines().skip_while(|line| *line != format!(".Sh {title}")).skip(1);
    behind.take_while(|line| !line.starts_with(".Sh ")).map(str::to_owned).collect()
}

/// The constants that a section of the overview has items for.
fn items(title: &str) -> Vec<String> {
    section(title).iter().filter_map(|line| line.strip_prefix(".It Dv ")).map(str::to_owned).collect()
}

/// The literal displays among the examples, as they are printed: the program, then how it is run.
fn displays() -> Vec<String> {
    let examples = section("EXAMPLES").join("\n") + "\n";
    let displays = examples.split(".Bd -literal\n").skip(1).map(|rest| rest.split_once(".Ed\n").unwrap().0);
    let printed = |text: &str| {
        let text = text.replace("\\-", "\x01").replace("\\e", "\x02");
        // What roff prints as another character, or not at all, so that nobody could copy it from a terminal.
        assert!(!text.contains(['\\', '-', '\'', '`', '^', '~']), "not as it is printed: {text}");
        text.replace('\x01', "-").replace('\x02', "\\")
    };
    displays.map(printed).collect()
}

/// What the page's program prints.
fn shown() -> String {
    let display = &displays()[1];
    display.split_inclusive('\n').filter(|line| !line.starts_with("$ ")).collect()
}

#[test]
fn the_page_lists_each_function_once_as_the_header_declares_it() {
    let (mut declared, mut listed) = (declared(), listed());
    declared.sort_unstable();
    listed.sort_unstable();
    assert!(declared.len() > 40, "{declared:?}");
    let missing: Vec<_> = declared.iter().filter(|function| !listed.contains(function)).collect();
    let unknown: Vec<_> = listed.iter().filter(|function| !declared.contains(function)).collect();
    assert!(declared == listed, "{OVERVIEW} lacks {missing:#?}, and has {unknown:#?}");
}

#[test]
fn the_page_has_each_status_in_the_headers_order() {
    let constants = constants();
    let statuses: Vec<_> = constants.iter().skip_while(|name| *name != "LOG_OK").collect();
    let failures: Vec<_> = constants.iter().filter(|name| name.starts_with("LOG_E_")).collect();
    let answers: Vec<_> = statuses.into_iter().take_while(|name| !name.starts_with("LOG_E_")).collect();
    assert!(answers.len() > 3 && failures.len() > 15, "{constants:?}");
    assert_eq!(items("RETURN VALUES").iter().collect::<Vec<_>>(), answers);
    assert_eq!(items("ERRORS").iter().collect::<Vec<_>>(), failures);
}

/// Words with an underscore, which only names have.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.contains('_')).collect()
}

#[test]
fn the_pages_name_every_constant_and_nothing_that_does_not_exist() {
    let (overview, files) = (read(OVERVIEW), read(FILES));
    // The parts of the version are told by what they make together.
    let constants = constants();
    let constants = constants.iter().map(String::as_str).filter(|name| !name.starts_with("LOG_VERSION_"));
    let missing: Vec<_> = constants.filter(|name| !names_in(&overview).contains(name)).collect();
    assert!(missing.is_empty(), "{OVERVIEW} does not name {missing:?}");

    let (code, header) = (header_code(), read("include/seglog.h"));
    let (ours, all) = (names_in(&code), names_in(&header));
    for page in [&overview, &files] {
        let exists = |word: &&str| if word.to_lowercase().starts_with("log_") { &ours } else { &all }.contains(*word);
        let unknown: Vec<_> = names_in(page).into_iter().filter(|word| !exists(word)).collect();
        assert!(unknown.is_empty(), "a man page names what the header does not have: {unknown:?}");
    }
}

#[test]
fn the_example_runs_and_prints_what_the_page_says() {
    let temp = TempDir::new("man");
    let source = temp.join("example.c");
    fs::write(&source, &displays()[0]).unwrap();
    let library = common::library_dir();
    for linking in [common::shared_flags(library), common::static_flags(library)] {
        let program = temp.join("example");
        let flags = ["-Wall", "-Wextra", "-Werror"].into_iter().chain(linking.iter().map(String::as_str));
        common::compile_c(&[&source], &flags.collect::<Vec<_>>(), &program);
        let done = common::run_command(Command::new(&program).current_dir(temp.path()), TIME_OUT);
        done.expect_success("the example");
        assert_eq!(done.stdout, shown());
        fs::remove_dir_all(temp.join("my-log")).unwrap();
    }
}

#[test]
fn mandoc_has_nothing_to_say() {
    if !common::have("mandoc") {
        return;
    }
    for page in [OVERVIEW, FILES] {
        let done = common::run("mandoc", &["-Tlint", "-Wwarning", common::path(page).to_str().unwrap()]);
        assert!(done.success() && done.stdout.is_empty(), "{}", done.report());
    }
}

/// Runs `make` of the project on the debug library, with these settings.
fn make(target: &str, settings: &[String]) -> Finished {
    let library = common::library_dir();
    let mut make = Command::new("make");
    make.arg("-C").arg(common::root()).arg(target).args(settings);
    make.arg(format!("SHARED={}", library.join("libseglog.so").display()));
    make.arg(format!("STATIC={}", library.join("libseglog.a").display()));
    let inherited = ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"];
    for name in inherited.into_iter().chain(["PREFIX", "LIBDIR", "INCLUDEDIR", "MANDIR", "DESTDIR"]) {
        make.env_remove(name);
    }
    let done = common::run_command(&mut make, TIME_OUT);
    done.expect_success(&format!("{make:?}"));
    done
}

/// The files and links in a folder and all below it, by their paths in it.
fn files_in(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_in(&entry.path()).iter().map(|below| format!("{name}/{below}")));
        } else {
            files.insert(name);
        }
    }
    files
}

#[test]
fn make_install_puts_a_page_by_the_name_of_each_function() {
    let temp = TempDir::new("install");
    let setting = |name: &str, value: &str| format!("{name}={value}");
    let staged = setting("DESTDIR", temp.path().to_str().unwrap());
    for (settings, man) in [
        (vec![staged.clone()], "usr/local/share/man"),
        (vec![staged.clone(), setting("PREFIX", "/usr")], "usr/share/man"),
        (vec![staged, setting("PREFIX", "/usr"), setting("MANDIR", "/opt/man")], "opt/man"),
    ] {
        make("install", &settings);
        let man = temp.join(man);
        let declared = declared();
        let mut expected: BTreeSet<_> = declared.iter().map(|function| format!("man3/{}.3", name(function))).collect();
        for page in &expected {
            assert_eq!(fs::read_to_string(man.join(page)).unwrap(), ".so man3/seglog.3\n", "{page}");
        }
        for (page, of) in [("man3/seglog.3", OVERVIEW), ("man5/seglog.5", FILES)] {
            assert!(fs::read_to_string(man.join(page)).unwrap() == read(of), "{page}");
            expected.insert(page.to_owned());
        }
        assert_eq!(files_in(&man), expected);
        make("uninstall", &settings);
        assert_eq!(files_in(temp.path()), BTreeSet::new(), "what is left when it was taken away again");
    }
}

/// As a user does it: installed into a folder of his own, found by `man`, compiled and run as the page says.
#[test]
fn what_was_installed_is_found_by_man_and_by_pkg_config() {
    let temp = TempDir::new("installed");
    let prefix = temp.join("prefix");
    make("install", &[format!("PREFIX={}", prefix.display())]);
    if common::have("mman") {
        let page = common::run("mandoc", &[prefix.join("share/man/man3/seglog.3")]).stdout;
        let man = prefix.join("share/man");
        for name in ["seglog", "log_append", "log_cursor_next"] {
            let done = common::run("mman", &["-M".as_ref(), man.as_os_str(), name.as_ref()]);
            assert!(done.success() && done.stdout == page, "{name}: {}", done.report());
        }
    }
    if common::have("pkg-config") {
        fs::write(temp.join("example.c"), &displays()[0]).unwrap();
        for line in displays()[1].lines().filter_map(|line| line.strip_prefix("$ ")) {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).current_dir(temp.path());
            shell.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).env("LD_LIBRARY_PATH", prefix.join("lib"));
            let done = common::run_command(&mut shell, TIME_OUT);
            done.expect_success(line);
            assert_eq!(done.stdout, if line.starts_with("cc ") { String::new() } else { shown() });
        }
    }
}
