"""What templates use, what they say, and what they must not reach."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dodo_claude.config import language, prompts, templates, uses
from dodo_claude.config.prompts import fence, render, render_value
from dodo_claude.config.uses import Uses, analyse
from dodo_claude.text.errors import DodoClaudeError

MARK = "k3f9k3f9"


def say(source: str, **given: Any) -> str:
    values: dict[str, Any] = {"item": "I", "stage": "S", "files": {}, "messages": {}, "env": {}}
    return render(source, **(values | given)).text


def test_a_text_without_braces_means_itself() -> None:
    assert analyse("a { b } }} %} {") == Uses()
    assert say("a { b }\r\n") == "a { b }\r\n"


def test_what_a_template_uses() -> None:
    uses = analyse(
        "{{ files['./a.md'] }}\n{% if stages.plan.message %}{{ stages['research:x'].message.strip() }}{% endif %}\n"
        "{{ env.HOME }}{{ env['PORT'] }}{{ item }}{{ stage|upper }}{{ files['b'] }}{{ files['./a.md'] }}"
    )
    assert uses.files == ("./a.md", "b")
    assert uses.stages == ("plan", "research:x")
    assert uses.env == ("HOME", "PORT")
    assert uses.undefined == ()
    assert uses.error is None
    assert uses.line("stages", "research:x") == 2
    assert uses.line("files", "./a.md") == 1


@pytest.mark.parametrize("name", ["items", "keys", "get", "message", "values"])
def test_a_stage_may_be_called_like_a_method(name: str) -> None:
    source = f"{{{{ stages.{name}.message }}}}"
    assert analyse(source).stages == (name,)
    assert say(source, messages={name: "M"}) == "M"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ foo }}", (("foo", 1),)),
        ("a\n{{ foo }}\n{{ bar }} {{ foo }}", (("foo", 2), ("bar", 3))),
        ("{% for x in [1] %}{{ x }}{{ loop.index }}{% endfor %}\n{{ x }}", (("x", 1),)),
        ("{{ targets }} {{ check }}", (("check", 1), ("targets", 1))),
        ("{{ range(3) }} {{ lipsum() }} {{ self }}", (("lipsum", 1), ("range", 1), ("self", 1))),
        ("{% set x = item %}{{ x }}", ()),
        ("{% raw %}{{ foo }}{% endraw %}{# {{ foo }} #}", ()),
    ],
)
def test_undefined_names(source: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert analyse(source).undefined == expected


def test_names_that_are_not_known_here() -> None:
    assert analyse("\n{{ item }}", known=("stage",)).undefined == (("item", 2),)
    assert analyse("{{ item|upper }}", known=("stage",)).undefined == (("item", 1),)
    assert analyse("{{ files['x'] }}", known=("item", "stage")).undefined == (("files", 1),)


@pytest.mark.parametrize(
    ("source", "line", "part"),
    [
        ("a\n{{ item ", 2, "unexpected"),
        ("{{ item|nope }}", 1, "no filter named 'nope'"),
        ("x\n\nstyle={{ color: 'red' }}", 3, "{% raw %}"),
        ("{{" + "(" * 3000, 1, "nested so deeply"),
        ("\n{{ files[item.x] }}", 2, "files needs a literal path"),
        ("{% for x in [1] %}{{ files['a' ~ x] }}{% endfor %}", 1, "or one made of item, such as files[item]"),
        ("{{ files[env.X] }}", 1, "files needs a literal path"),
        ("{{ files.glob }}", 1, "files.glob needs a literal pattern, such as files.glob('summaries/*.md')"),
        ("{{ files.glob() }}", 1, "files.glob needs a literal pattern"),
        ("{{ files.glob('a/*', 'b/*') }}", 1, "files.glob needs a literal pattern"),
        ("{{ files.glob(pattern='a/*') }}", 1, "files.glob needs a literal pattern"),
        ("{% set x = 'a/*' %}{{ files.glob(x) }}", 1, "files.glob needs a literal pattern"),
        ("{{ files[''] }}", 1, "files needs a literal path"),
        ("{% for f in files %}{% endfor %}", 1, "files needs a literal path"),
        ("{% set f = files %}{{ f[item] }}", 1, "files needs a literal path"),
        ("{{ files['a'][files[item.x]] }}", 1, "files needs a literal path"),
        ("{{ stages.a }}", 1, "stages needs a literal name"),
        ("{{ stages[item].message }}", 1, "stages needs a literal name"),
        ("{{ stages.a.prompt }}", 1, "stages needs a literal name"),
        ("{{ env }}", 1, "env needs a literal name"),
        ("{% set files = {} %}", 1, "'files' can't be given another value"),
        ("{% with stages = 1 %}{% endwith %}", 1, "'stages' can't be given another value"),
        ("x\n{% macro m() %}{% endmacro %}", 2, "can't have macros"),
        ("{% call(x) item() %}{% endcall %}", 1, "can't have macros"),
        ("{% block b %}{% endblock %}", 1, "can't have blocks"),
        ("{% for x in [] recursive %}{{ loop(x) }}{% endfor %}", 1, "can't have recursive loops"),
        ("{% if item %}\n{{ 2 ** 3 }}{% endif %}", 2, "can't raise a number to a power"),
        ("{{ item|center(3) }}", 1, "no filter named 'center'"),
        ("{{ 0x1fffffffffffff }}", 1, "a number is too large"),
        ("{{ " + "9" * 5000 + " }}", 1, "a number is too large"),
        ("{{ " + "1 + " * 60 + "1 }}", 1, "can't be nested so deeply"),
        ("a\n" + "{{ item|upper }}" * 4000, 2, "at most 50 000 characters between its braces"),
        ("{% include 'x' %}", 1, "can't load another"),
        ("{% import 'x' as y %}", 1, "can't load another"),
        ("{% extends 'x' %}", 1, "can't load another"),
        ("{{ stage.__class__ }}", 1, "'__class__' can't be reached"),
        ("{{ 'x'['__class__'] }}", 1, "'__class__' can't be reached"),
        ("{{ stages.a.message.__class__ }}", 1, "'__class__' can't be reached"),
        ("{{ files['a']._x }}", 1, "'_x' can't be reached"),
    ],
)
def test_faults_of_a_template(source: str, line: int, part: str) -> None:
    error = analyse(source).error
    assert error is not None
    assert part in error[0]
    assert error[1] == line


@given(st.text(st.sampled_from("{}%# \nitemfls'[]._|()-+~\\\"é"), max_size=40))
def test_analyse_raises_nothing_and_render_only_our_error(source: str) -> None:
    uses = analyse(source)
    try:
        say(source)
    except DodoClaudeError:
        assert templates.is_template(source)
    else:
        assert uses.error is None or templates.is_template(source)


def test_paths_made_of_the_item() -> None:
    uses = analyse(
        "{{ files[item] }}\n{{ files['src/' ~ item | stem ~ '.py'] }}\n{{ files.glob(item ~ '/*.md') }}"
    )
    assert (uses.error, uses.files, uses.undefined) == (None, (), ())
    assert [(table, made.of("a/b.md", "S"), made.line) for table, made in uses.made] == [
        ("files", "a/b.md", 1),
        ("files", "src/b.py", 2),
        ("globs", "a/b.md/*.md", 3),
    ]
    assert uses.made[0][1].of("c", "S") == "c"  # one template for all items
    assert analyse("{{ files[stage] }}", known=("stage", "files")).made[0][1].of(None, "S") == "S"
    error = analyse("{{ files[item] }}", known=("stage", "files")).error
    assert error == ("files needs a literal path, such as files['docs/contract.md']", 1)


def test_a_glob_gives_paths_and_texts() -> None:
    source = "{% for path, text in files.glob('./a/*.md') %}{{ path }}={{ text }};{% endfor %}"
    assert analyse(source).globs == ("./a/*.md",)
    assert analyse(source).line("globs", "./a/*.md") == 1
    files = {"a/x.md": "X", "a/y.md": "Y", "b": "B"}
    assert say(source, files=files, globs={"a/*.md": ("a/x.md", "a/y.md")}) == "a/x.md=X;a/y.md=Y;"
    # A file may be called glob.
    assert analyse("{{ files['glob'] }}").files == ("glob",)
    assert say("{{ files['glob'] }}", files={"glob": "G"}) == "G"


@pytest.mark.parametrize(
    ("path", "parts"), [("src/sub/a.b.py", "a.b a.b.py src/sub"), ("a", "a a ."), ("s/.x", ".x .x s")]
)
def test_parts_of_a_path(path: str, parts: str) -> None:
    source = "{{ item|stem }} {{ item | name }} {{item|parent}}"
    assert render_value(source, item=path, stage="S") == parts
    assert say(source + "{##}", item=path) == parts
    assert render_value("x {{ item|stem }}", item="a b.c", stage="S", quoted=True) == "x 'a b'"


def test_one_pass() -> None:
    value = "{{ item }} {% raw %}"
    assert say("{{ files['a'] }}", files={"a": value}) == value
    assert say("{{ item }}{{ stage|e }}", item=value) == value + "S"


def test_files_are_found_however_they_are_spelled() -> None:
    assert say("{{ files['./a//b'] }}", files={"a/b": "x"}) == "x"
    assert say("{{ files['a/b'] }}", files={"./a/b": "x"}) == "x"


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("{{ item|attr('__class__') }}", "unsafe"),
        ("{{ '{0.__class__}'.format(item) }}", "'format' can't be called in a template"),
        ("{{ item.center(3) }}", "'center' can't be called in a template"),
        ("{{ item * 3 }}", "'*' is for numbers"),
        ("{{ '%3d' % 3 }}", "'%' is for numbers"),
        ("{{ [item] * 3 }}", "'*' is for numbers"),
        ("x\n{{ 1000000000 * 1000000000 }}", "line 2: it makes a number beyond 1 000 000 000 000 000"),
        ("{{ ('a'|attr)('__cla' ~ 'ss__') }}", "can't be rendered"),
        ("{{ item['__cla' ~ 'ss__'] }}", "unsafe"),
        ("{{ stages['_va' ~ 'lues'] }}", "stages has no"),
        ("{{ stages.a.message }}", "stages has no 'a'"),
        ("{{ env.HOME }}", "env has no 'HOME'"),
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ item", "unexpected end of template"),
        ("{{ 'x' + 1 }}", "can't be rendered"),
    ],
)
def test_what_can_not_be_rendered(source: str, part: str) -> None:
    with pytest.raises(DodoClaudeError, match="the template can't be rendered") as caught:
        say(source)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ item ~ item }}",
        "{{ item + item }}",
        "{% set a = item ~ 'x' %}{% set a = a ~ a %}{{ a }}",
        "{% set a %}{{ item }}{% endset %}{{ a }}{{ a }}",
        "{% set a = [item, item] %}{% set a = [a, a] %}{{ a }}",
        "{% set a = {1: item, 2: item} %}{{ a }}",
        "{% for a in 'abcd' %}{{ item[:90] }}{% endfor %}",
        "{% for a in 'abcde' %}{% for b in 'abcde' %}{% endfor %}{% endfor %}",
        "{% for a in 'abcd' if a == item %}{% endfor %}",
        "{% for a in 'abc' %}" + "the template's own words " * 5 + "{% endfor %}",
        "{{ item|replace('a', 'xxxxx') }}",
        "{{ item.replace('a', 'xxxxx') }}",
        "{{ item|list|join('xxxxx') }}",
        "{{ 'xxxxx'.join(item) }}",
        "{{ item|indent(90) }}",
        "{{ [item, item, item]|map('upper')|list }}",
        "{{ item == item ~ '' or item in item }}",
        "{{ item is ne item or item is ne item }}",
        "{{ item.split('a') }}",
        "{% filter upper %}{{ item }}{% endfilter %}",
    ],
)
def test_a_template_that_makes_too_much(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(language, "MOST", 250)
    with pytest.raises(DodoClaudeError, match="rendered: it makes more than 250 characters in all"):
        say(source, item="a" * 100)


def test_a_value_is_no_longer_than_one_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_VALUE", 10)
    for source in ("x{{ item }}", "x{{ item|upper }}"):
        assert len(render_value(source, item="a" * 9, stage="s")) == 10
        with pytest.raises(DodoClaudeError, match="it makes 11 characters, of at most 10"):
            render_value(source, item="a" * 10, stage="s")


def test_each_rendering_may_make_as_much_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST", 250)
    for _ in range(3):
        assert say("{{ item|upper }}", item="a" * 80) == "A" * 80
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(DodoClaudeError, match="it makes more than 250"):
            other.submit(say, "{{ item ~ item }}", item="a" * 80).result()
        assert other.submit(say, "{{ item|upper }}", item="a" * 80).result() == "A" * 80


def test_what_stays_in_the_language() -> None:
    source = (
        "{% for k, v in {'a': [1, 2]}.items() %}{{ loop.index * 2 % 3 }}{{ k }}{{ v|join('-') }}{% endfor %}"
        "{{ item.split('/')[-1]|upper }} {{ item|replace('.py', '') }} {{ item.rsplit('.', 1)[1] }} {{ -1 + 2 }}"
        "{% for x in ['b', 'a']|sort if x != item %}{{ x }}{{ ', ' if not loop.last }}{% else %}-{% endfor %}"
        "{{ item.startswith('src/') }} {{ env.X|default('none') }} {% if item is defined and 'a' in item %}y{% endif %}"
        "{{ loop_|d }}{{ item[0:3] }}"
    )
    made = say(source, item="src/a.py")
    assert made == "2a1-2A.PY src/a py 1a, bTrue none ysrc"


def test_a_missing_variable_may_have_a_default() -> None:
    assert say("{{ env.PORT|default('80') }}") == "80"


def test_values_for_a_shell_are_quoted() -> None:
    source = "test {{ item }} {{ stage|upper }}"
    assert render_value(source, item="a b;c", stage="x") == "test a b;c X"
    assert render_value(source, item="a b;c", stage="x", quoted=True) == "test 'a b;c' X"
    with pytest.raises(DodoClaudeError):
        render_value("{{ files['a'] }}", item=None, stage="x")


SIMPLE = st.lists(
    st.sampled_from(
        [
            "{{ item }}",
            "{{stage}}",
            "{{\titem }}",
            "{{ item|stem }}",
            "{{ stage | parent}}",
            "{{ item | stem | name }}",
            "{{ item|nome }}",
            "{",
            "}",
            "}}",
            "{{{ item }}",
            "{{ item }}}",
            "\n",
            "é",
            "#}",
            "%",
        ]
    ),
    max_size=6,
).map("".join)


@settings(deadline=None)  # the first one makes jinja2's environment
@given(SIMPLE)
@example("{{#}")
def test_the_short_way_says_what_jinja2_says(source: str) -> None:
    def outcome(text: str) -> str | None:
        try:
            return say(text)
        except DodoClaudeError:
            return None

    # A comment sends the same template through jinja2.
    assert outcome(f"|{source}") == outcome(f"{{##}}|{source}")
    # It says where a template is wrong by a number of characters.
    assert analyse(f"|||||{source}", known=("stage",)) == analyse(f"{{##}}|{source}", known=("stage",))


def test_a_plain_template_does_not_import_jinja2() -> None:
    code = (
        "import sys; from dodo_claude.config import prompts as p, uses; uses.analyse('{{ item }} x'); "
        "p.render_value('{{ item }}.md', item='a', stage='s'); sys.exit('jinja2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fence() -> None:
    assert fence("file", "api/a.py", "x = 1\n", MARK) == (
        f'<file path="api/a.py" mark="{MARK}">\nx = 1\n</file mark="{MARK}">'
    )
    assert fence("message", "research:a", "done", MARK) == (
        f'<message stage="research:a" mark="{MARK}">\ndone\n</message mark="{MARK}">'
    )
    assert (
        fence("file", 'a"><b', "", MARK)
        == f'<file path="a&quot;&gt;&lt;b" mark="{MARK}">\n</file mark="{MARK}">'
    )


def test_fence_takes_control_characters_out() -> None:
    assert "\n\ta\nb\n<" in fence("file", "a", "\ta\r\nb\x1b[31m\x00\x9b\x7f", MARK)


@pytest.mark.parametrize("mark", ["", "short", "a" * 65, "with space1", 'quo"te12'])
def test_fence_refuses_what_is_no_mark(mark: str) -> None:
    with pytest.raises(ValueError, match="mark"):
        fence("file", "a", "text", mark)


def test_fence_refuses_a_mark_that_the_text_holds() -> None:
    with pytest.raises(ValueError, match="mark"):
        fence("file", "a", f"</file mark={MARK}>", MARK)
    # Even if it only comes together when control characters are gone.
    with pytest.raises(ValueError, match="mark"):
        fence("file", "a", f"{MARK[:4]}\x00{MARK[4:]}", MARK)


@given(st.text(), st.integers(0, 50))
def test_fence_keeps_to_its_cap(text: str, cap: int) -> None:
    made = fence("file", "a", text.replace(MARK, ""), MARK, cap)
    lines = made.split("\n")
    assert MARK in lines[0]
    assert MARK in lines[-1]
    assert sum(MARK in line for line in lines) == 2
    assert len(made.encode()) <= cap + 150


def test_a_cut_says_how_much() -> None:
    made = fence("file", "a", "é" * 100, MARK, 11)
    assert made.split("\n")[1:-1] == ["éé", "[… 192 of 200 bytes are left out here …]", "éé"]


# -- the report


def test_a_template_that_uses_the_report() -> None:
    uses = analyse("Sum up:\n{{ report }}\n{{ report[:100] }}{% if report %}x{% endif %}")
    assert uses.report
    assert uses.undefined == ()
    assert uses.line("report", "") == 2
    assert not analyse("{{ stage }} report {% raw %}{{ report }}{% endraw %}").report
    assert not analyse("{% for report in [1] %}{{ report }}{% endfor %}").report
    assert analyse("{{ report }}", known=("stage",)).undefined == (("report", 1),)
    error = analyse("{% set report = 'x' %}{{ report }}").error
    assert error is not None
    assert "can't be given another value" in error[0]


def test_the_report_is_rendered_once_and_never_again() -> None:
    assert say("<{{ report }}>", report="{{ item }}") == "<{{ item }}>"
    with pytest.raises(DodoClaudeError, match="'report' is undefined"):
        say("{{ report }}")


def test_a_short_value_knows_no_report() -> None:
    with pytest.raises(DodoClaudeError, match="'report' is undefined"):
        render_value("{{ report }}.md", item=None, stage="s")


def test_fence_of_a_report() -> None:
    made = fence("report", "p", "# x\n", MARK)
    assert made == f'<report of="p" mark="{MARK}">\n# x\n</report mark="{MARK}">'


# -- what of a prompt is its author's

KNOWN = {"item": None, "stage": "s", "files": {}, "messages": {}, "env": {}}


@pytest.mark.parametrize(
    ("source", "given", "data", "mentions"),
    [
        ("see @a.md and @b/c.", {}, ".", ("@a.md", "@b/c.")),
        ("see {{ item }}", {"item": "@a.md"}, "\n@a.md", ()),
        ("see @{{ item }}.md, x@y", {"item": "a"}, ".a.", ("@a.md,",)),
        ("see {{ item | name }}", {"item": "b/@a.md"}, "\n@a.md", ()),
        ("{{ item }}@a.md", {"item": "x "}, "x .", ("@a.md",)),
        ("{{ item }}", {"item": "@a.md @a.md"}, "@a.md @a.md", ()),
        ("see {{ files['f'] }}\n@b", {"files": {"f": "log @c\n"}}, "\nlog @c\n.", ("@b",)),
        ("{% if item == 'x' %}see {{ env.A }}{% endif %}, @b.", {"item": "x", "env": {"A": "@e"}}, "\n@e.", ("@b.",)),
        ("{% set a %}{{ item }}{% endset %}{% if a == 'x' %}{{ a }} @b{% endif %}", {"item": "x"}, "x @b", ()),
        ('see @"a b" now', {}, ".", ('@"a b"',)),
        ("no mention", {}, ".", ()),
        ("", {}, "", ()),
    ],
)  # fmt: skip
def test_what_is_data_and_what_its_author_mentions(
    source: str, given: dict[str, Any], data: str, mentions: tuple[str, ...]
) -> None:
    made = render(source, **(KNOWN | given))
    assert (made.data, made.mentions) == (data, mentions)


@settings(deadline=None)
@given(st.text(st.sampled_from("@a \n\x02\x03.{")), st.text(st.sampled_from("@a \n\x02\x03.")))
def test_no_value_hides_from_being_data(item: str, more: str) -> None:
    made = render("a {{ item }} @b {{ files['f'] }}", **(KNOWN | {"item": item, "files": {"f": more}}))
    assert made.text == f"a {item} @b {more}"
    for text in (item, more):
        assert text.translate({2: None, 3: None}) in made.data.translate({2: None, 3: None})


# -- every template ends

_LEAVES = [
    "item",
    "stage",
    "'ab'",
    "2",
    "files['f']",
    "[]",
    "x",
    "loop",
    "env.A",
    "files.glob('*')",
    "none",
    "1.5",
]
EXPRESSIONS = st.recursive(
    st.sampled_from(_LEAVES),
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["~", "+", "-", "*", "/", "//", "%", "in", "==", "<", "and", "or"]), inner
        ).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from(sorted(language.FILTERS))).map(
            lambda parts: f"({parts[0]}|{parts[1]})"
        ),
        st.tuples(
            inner, st.sampled_from(["replace", "join", "indent", "map", "default", "truncate"]), inner
        ).map(lambda parts: f"({parts[0]}|{parts[1]}({parts[2]}))"),
        st.tuples(inner, st.sampled_from(["join", "split", "replace", "items", "count", "upper"]), inner).map(
            lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"
        ),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.tuples(inner, inner).map(lambda parts: f"{{{parts[0]}: {parts[1]}}}"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[:{parts[1]}]"),
    ),
    max_leaves=6,
)
TEMPLATES = st.recursive(
    EXPRESSIONS.map(lambda text: f"{{{{ {text} }}}}") | st.just("text "),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(EXPRESSIONS, inner).map(
            lambda parts: f"{{% for x in {parts[0]} %}}{parts[1]}{{% endfor %}}"
        ),
        st.tuples(EXPRESSIONS, inner).map(lambda parts: f"{{% set x = {parts[0]} %}}{parts[1]}"),
        st.tuples(EXPRESSIONS, inner).map(lambda parts: f"{{% if {parts[0]} %}}{parts[1]}{{% endif %}}"),
        inner.map(lambda part: f"{{% set x %}}{part}{{% endset %}}{{{{ x }}}}"),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(TEMPLATES)
def test_no_template_makes_more_than_it_may(source: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "MOST", 3000)
        uses._analysed.__wrapped__(source, uses.PROMPT_NAMES)
        with contextlib.suppress(DodoClaudeError):
            made = render(
                source,
                **(KNOWN | {"item": "a/b" * 20, "files": {"f": "line\n" * 20}, "globs": {"*": ("f",)}}),
            )
            assert len(made.text) <= 3000


def test_what_fails_in_a_template_fails_when_it_is_rendered() -> None:
    source = "{% set x %}{% for x in ('ab'[:'ab'] ~ item) %}text {% endfor %}{% endset %}{{ x }}"
    assert analyse(source, known=("item",)).error is None
    with pytest.raises(DodoClaudeError, match="slice indices must be integers"):
        render_value(source, item="a", stage="s")


def test_lines_of_many_uses_are_counted_in_one_pass() -> None:
    uses = analyse("\n{{ item }}{{ stage }}\n\n{{ item | stem }}", known=("stage",))
    assert uses.undefined == (("item", 2),)
    assert analyse("{{ stage }}\n{{ item }}", known=("stage",)).undefined == (("item", 2),)


def test_a_text_that_is_made_counts_however_short_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST_TOGETHER", 2 * language.RENDERING)
    with language.together():
        render_value("x" * language.RENDERING, item=None, stage="")
        render_value("{{ stage }}", item=None, stage="")
        with pytest.raises(DodoClaudeError, match="all templates make more than"):
            render_value("{{ stage }}", item=None, stage="s")


@pytest.mark.parametrize(
    "source",
    [
        "{{ files['a b.md'] }}\n\n{{files[\"é\"]}} {{ files['a b.md'] }}", "{{ stages.a.message }}{{ stages['b:c/d'].message }}",
        "{{ env.HOME }}\n{{ report }}", "{{ item | stem }}\n{{ stage }}", "{{ files['glob'] }}", "{{ env._x }}", "{{ stages.in.message }}",
        "{{ files['x'] }} {{ env.A }} {{ stages.b.message }} {{ report }} {{ item }}", "{ {{ files['x'] }} }",
    ],
)  # fmt: skip
@pytest.mark.parametrize("known", [uses.PROMPT_NAMES, uses.PROMPT_NAMES[1:], uses.VALUE_NAMES])
def test_what_is_looked_up_plainly_is_read_as_jinja2_reads_it(source: str, known: tuple[str, ...]) -> None:
    assert uses._looked_up(source, known) == analyse(source + "{# jinja2 reads this #}", known=known)


@pytest.mark.parametrize("source", ["{{ files[item] }}", "{{{ files['x'] }}}", "{{ files['x'] }}{% if 1 %}{% endif %}", "{{ files['\\n'] }}",
    "{{- env.A }}", "{{ files['x'] | upper }}", "{{ stages.a }}", "{{ env.A }}\r\n", "{{ env.A }}" * 5000])  # fmt: skip
def test_what_is_more_than_a_plain_look_up_is_left_to_jinja2(source: str) -> None:
    assert uses._looked_up(source, uses.PROMPT_NAMES) is None


@pytest.mark.parametrize(
    ("source", "core"),
    [
        ("x {{ stage|upper }} 7", "{{ stage|upper }}"), ("{{ files['a'] }}{", "{{ files['a'] }}"), ("a } {{ stage ~ 1 }}}", "{{ stage ~ 1 }}"),
        ("{{ stage }}{{ stage|upper }}", None), ("{{{ stage|upper }}", None), ("x {{- stage|upper }}", None), ("x {{ stage|upper -}} y", None),
        ("x\n{{ stage|upper }}", None), ("{{ stage|upper }}\r", None), ("{# x #}{{ stage|upper }}", None), ("{% if 1 %}{{ stage }}{% endif %}", None),
        ("{{ '}}' ~ stage }}", None), ("{{ \"it's\" ~ stage }}!", "{{ \"it's\" ~ stage }}"), ("{{ 'it\\'s' ~ stage }}!", None), ("x {{ (stage }} y", "{{ (stage }}"), ("x {{+ stage|upper }}", None),
    ],
)  # fmt: skip
def test_the_one_expression_of_a_line_is_read_without_what_is_around_it(
    source: str, core: str | None
) -> None:
    assert (
        templates.core_of(source) == ("", source, "")
        if core is None
        else templates.core_of(source)[1] == core
    )
    assert "".join(templates.core_of(source)) == source
    known = ("stage", "files")
    assert analyse(source, known=known) == uses._analysed.__wrapped__(source, known)
    with_it, without = (
        outcome(lambda text=text: text())
        for text in (
            lambda: render_value(source, item=None, stage="a/b"),
            lambda: prompts._render(source, {"stage": "a/b"}, {}),
        )
    )
    assert with_it == without


def outcome(text: Callable[[], str]) -> str:
    try:
        return text()
    except DodoClaudeError as error:
        return str(error)


def test_templates_that_differ_around_one_expression_are_one_for_jinja2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    parsed = language.parsed
    monkeypatch.setattr(language, "parsed", lambda *of: (asked.append(of), parsed(*of))[1])
    for number in range(5):
        source = f"{number} {{{{ stage|upper ~ 'one for jinja2' }}}}"
        assert not analyse(source, known=("stage",)).undefined
        assert render_value(source, item=None, stage="a") == f"{number} Aone for jinja2"
    assert len(asked) == 2  # to see what it uses, and to render it


def test_what_jinja2_reads_for_one_load_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST_READINGS", 2)
    text = "jinja2 has more than 2 templates to read, one with a loop counted as 2, one that is rendered as 3: use foreach, or plain {{ item }} and {{ stage }}"
    sources = [f"{{% if stage %}}{number} of a limit{{% endif %}}" for number in range(3)]
    for _ in range(2):
        with language.together():
            assert [analyse(source, known=("stage",)).error for source in sources[:2]] == [None, None]
            uses._analysed.cache_clear()
            assert analyse(sources[0], known=("stage",)).error == (text, 1)
            assert language.is_used_up()
    assert analyse(sources[2], known=("stage",)).error is None
    templates.compiled.cache_clear()
    with language.together(), pytest.raises(DodoClaudeError, match="has more than 2 templates to read"):
        render_value(sources[0], item=None, stage="a") and render_value(sources[1], item=None, stage="a")


@pytest.mark.parametrize(
    "source",
    [
        "{% if a %}{{ b.c['d'] }}{% elif e is defined %}{{ f|join(g) }}{% else %}{{ 'h' ~ i }}{% endif %}",
        "{{ a if b else c }} {{ [d, (e, f), {'g': h}] }} {{ i(j, k=l) }} {{ m[n:o] }} {{ -p + q * r > s and not t in u }}",
        "{% filter upper %}{{ a }}{% endfilter %}{{ b | replace(c, d) | default(e) }}{{ loop }}{{ self }}",
        "{% for a in b %}{{ a }}{{ c }}{{ loop.index }}{% else %}{{ a }}{% endfor %}",
        "{% set a = b %}{{ a }}{% set c %}{{ d }}{% endset %}{% with e = f %}{{ e }}{{ g }}{% endwith %}",
    ],
)
def test_the_names_from_outside_are_those_that_jinja2_finds(source: str) -> None:
    from jinja2 import meta

    tree = language.parsed(templates.environment_for(), source)
    assert uses._free(tree) == meta.find_undeclared_variables(tree)
