#!/usr/bin/python3
"""tools/tidy must find each planted violation, and nothing in a tree that keeps the rules."""
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
LOADER = importlib.machinery.SourceFileLoader("tidy", os.path.join(HERE, "tidy"))
TIDY = importlib.util.module_from_spec(importlib.util.spec_from_loader("tidy", LOADER))
LOADER.exec_module(TIDY)

CLEAN = {
    "shards/README.md": "# shards\n", "router/README.md": "# router\n", "net/README.md": "# net\n", "tools/README.md": "# tools\n",
    "net/buckets/README.md": "# buckets\n",
    "shards/base/a.h": "// A.\n#pragma once\n#include <stdint.h>\n",
    "shards/base/hash.c": "// H.\n#include <sodium.h>\n#include \"shards/base/a.h\"\n",
    "shards/ring.c": "// R.\n#include <ck_ring.h>\n",
    "router/pair.c": "// P.\n#include \"shards/base/a.h\"\n#include <string.h>\n\nint pair(int a)\n{\n    return a;\n}\n",
    "net/buckets/room.c": "// B.\n#include \"shards/base/a.h\"\n#include <jansson.h>\n",
}


class TidyTest(unittest.TestCase):
    def problems(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **changes}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return TIDY.check(root)

    def finds(self, path, text, expected, **others):
        found = self.problems({path: text, **others})
        self.assertTrue(any(p.startswith(path) and expected in p for p in found), f"{expected!r} not in {found}")

    def test_a_clean_tree_has_no_problem(self):
        self.assertEqual(self.problems({}), [])

    def test_library_outside_the_table(self):
        self.finds("router/x.c", "// X.\n#include <openssl/evp.h>\n", "may not include openssl")
        self.finds("shards/x.c", "// X.\n#include <ck_ring.h>\n", "may not include ck")
        self.finds("net/x.c", "// X.\n#include <sqlite3.h>\n", "may not include sqlite3")

    def test_unknown_library(self):
        self.finds("net/x.c", "// X.\n#include <boost/any.h>\n", "neither libc nor a library")

    def test_impure_router(self):
        self.finds("router/x.c", "// X.\n#include <time.h>\n", "the router is pure")

    def test_folder_outside_the_table(self):
        other = "// Y.\n#pragma once\n"
        self.finds("router/x.c", "// X.\n#include \"net/buckets/y.h\"\n", "may not include net/", **{"net/buckets/y.h": other})
        self.finds("shards/base/x.c", "// X.\n#include \"shards/y.h\"\n", "may not include shards/", **{"shards/y.h": other})

    def test_rooms_do_not_know_each_other(self):
        self.finds("net/buckets/x.c", "// X.\n#include \"net/other/y.h\"\n", "one room may not include another",
                   **{"net/other/y.h": "// Y.\n#pragma once\n"})

    def test_rooms_may_know_the_queue(self):
        queue = {"net/queue/README.md": "# queue\n", "net/queue/q.h": "// Q.\n#pragma once\n", "net/buckets/b.h": "// B.\n#pragma once\n"}
        self.assertEqual(self.problems({**queue, "net/buckets/x.c": "// X.\n#include \"net/queue/q.h\"\n"}), [])
        self.finds("net/queue/x.c", "// X.\n#include \"net/buckets/b.h\"\n", "one room may not include another", **queue)

    def test_include_that_is_not_from_the_root(self):
        self.finds("router/x.c", "// X.\n#include \"a.h\"\n", "is not a file of this tree")

    def test_cycles(self):
        self.finds("net/x.h", "// X.\n#pragma once\n#include \"net/y.h\"\n", "include cycle of headers",
                   **{"net/y.h": "// Y.\n#pragma once\n#include \"net/x.h\"\n"})
        found = self.problems({
            "tools/x.h": "// X.\n#pragma once\n#include \"tests/y.h\"\n", "tests/y.h": "// Y.\n#pragma once\n#include \"tools/z.h\"\n",
            "tools/z.h": "// Z.\n#pragma once\n", "tests/README.md": "# tests\n"})
        self.assertTrue(any("include cycle of folders" in p for p in found), found)

    def test_source_outside_every_folder(self):
        self.finds("x.c", "// X.\n", "is in no folder")

    def test_long_function_and_file(self):
        body = "// X.\nint\nlong_one(int a,\n         int b)\n{\n" + "    a++;\n" * 70 + "}\n"
        self.finds("net/x.c", body, "net/x.c:long_one has 75 lines")
        self.finds("net/x.c", "// X.\n" * 801, "has 801 lines")

    def test_function_of_seventy_lines_passes(self):
        self.assertEqual(self.problems({"net/x.c": "// X.\nint f(void)\n{\n" + "    a++;\n" * 67 + "}\n"}), [])

    def test_allow_list_may_only_shrink(self):
        body = "// X.\nint f(void)\n{\n" + "    a++;\n" * 77 + "}\n"
        self.assertEqual(self.problems({"net/x.c": body, "tools/tidy-allow": "net/x.c:f 80\n"}), [])
        self.finds("net/x.c", body, "has 80 lines", **{"tools/tidy-allow": "net/x.c:f 79\n"})
        self.finds("tools/tidy-allow", "net/x.c:f 81\n", "shrink the entry", **{"net/x.c": body})
        self.finds("tools/tidy-allow", "net/gone.c:f 81\n", "remove the entry")

    def test_forbidden_calls(self):
        for call in ("strcpy(a, b)", "sprintf(a, b)", "atoi(a)", "system(a)", "usleep(5)", "strtok(a, b)"):
            self.finds("net/x.c", f"// X.\nint f(void)\n{{\n    {call};\n}}\n", "is forbidden")
        self.assertEqual(self.problems({"net/x.c": "// strcpy(a, b)\nint f(void)\n{\n    x_system(\"gets(a)\");\n}\n"}), [])

    def test_missing_opening_comment(self):
        self.finds("net/x.c", "int a;\n", "starts without a comment")
        self.finds("net/x.h", "// X.\nint a;\n", "no #pragma once")
        self.finds("tools/x.py", "import os\n", "starts without a comment")
        self.finds("tools/x", "#!/usr/bin/env bash\nset -e\n", "starts without a comment")

    def test_readmes(self):
        self.finds("store/README.md", "# store\n" * 41, "has 41 lines", **{"store/x.c": "// X.\n"})
        found = self.problems({"store/x.c": "// X.\n"})
        self.assertIn("store/README.md:1: is missing", found)

    def test_blanks_and_columns(self):
        self.finds("net/x.c", "// X.\n\tint a;\n", "tab")
        self.finds("net/x.c", "// X. \n", "trailing blanks")
        self.finds("net/x.c", "// X.", "newline")
        self.finds("net/x.c", "// " + "x" * 140 + "\n", "columns")

    def test_left_overs_and_machine_paths(self):
        self.finds("net/x.c", "// X.\n// TO" + "DO: later\n", "left-over")
        self.finds("net/README.md", "see /wor" + "k/main\n", "names a path")
        self.finds("net/README.md", "see /hom" + "e/me/src\n", "names a path")


if __name__ == "__main__":
    unittest.main()
