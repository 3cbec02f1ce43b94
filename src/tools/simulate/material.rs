//! What a beginners' course works on: names, notebooks, cells, and how they go wrong.

/// A notebook of the course.
#[derive(Debug)]
pub(super) struct Notebook {
    pub(super) path: &'static str,
    pub(super) cells: &'static [Cell],
}

/// A cell as the student should have it, and as students have it before.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: &'static str,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    pub(super) result: &'static str,
    /// Code that fails, and with what.
    pub(super) mistakes: &'static [(&'static str, &'static str)],
}

const fn text(id: &'static str, code: &'static str) -> Cell {
    Cell {
        id,
        kind: "markdown",
        code,
        result: "",
        mistakes: &[],
    }
}

const fn code(id: &'static str, code: &'static str, result: &'static str) -> Cell {
    Cell {
        id,
        kind: "code",
        code,
        result,
        mistakes: &[],
    }
}

const fn task(
    id: &'static str,
    code: &'static str,
    result: &'static str,
    mistakes: &'static [(&'static str, &'static str)],
) -> Cell {
    Cell {
        id,
        kind: "code",
        code,
        result,
        mistakes,
    }
}

pub(super) const NOTEBOOKS: [Notebook; 3] = [
    Notebook {
        path: "第3回/01_リスト.ipynb",
        cells: &[
            text(
                "a1-title",
                "# 第3回 リスト\n点数のリストを作り、平均を求めましょう。",
            ),
            code(
                "a1-scores",
                "scores = [72, 85, 90, 64, 58]\nscores",
                "[72, 85, 90, 64, 58]",
            ),
            task(
                "a1-mean",
                "mean = sum(scores) / len(scores)\nmean",
                "73.8",
                &[
                    (
                        "mean = sum(score) / len(scores)\nmean",
                        "NameError: name 'score' is not defined",
                    ),
                    (
                        "scores = []\nsum(scores) / len(scores)",
                        "ZeroDivisionError: division by zero",
                    ),
                ],
            ),
            task(
                "a1-last",
                "# 最後の点数\nscores[-1]",
                "58",
                &[
                    (
                        "# 最後の点数\nscores[5]",
                        "IndexError: list index out of range",
                    ),
                    (
                        "# 最後の点数\nscores(-1)",
                        "TypeError: 'list' object is not callable",
                    ),
                ],
            ),
            task(
                "a1-label",
                "label = '平均: ' + str(round(mean, 1))\nprint(label)",
                "",
                &[
                    (
                        "label = '平均: ' + mean\nprint(label)",
                        "TypeError: can only concatenate str (not \"float\") to str",
                    ),
                    (
                        "label = '平均: ' + str(round(mean, 1)\nprint(label)",
                        "SyntaxError: '(' was never closed (2814205012.py, line 1)",
                    ),
                ],
            ),
            task(
                "a1-passed",
                "passed = [s for s in scores if s >= 60]\nlen(passed)",
                "4",
                &[
                    (
                        "passed = [s for s in scores if s => 60]\nlen(passed)",
                        "SyntaxError: invalid syntax (1093276405.py, line 1)",
                    ),
                    ("len(pased)", "NameError: name 'pased' is not defined"),
                ],
            ),
            code("a1-free", "", ""),
        ],
    },
    Notebook {
        path: "第3回/02_辞書とループ.ipynb",
        cells: &[
            text("b2-title", "# 辞書\n果物の値段を辞書に入れます。"),
            code(
                "b2-prices",
                "prices = {'りんご': 120, 'みかん': 80, 'ぶどう': 450}\nprices",
                "{'りんご': 120, 'みかん': 80, 'ぶどう': 450}",
            ),
            task(
                "b2-lookup",
                "prices['みかん'] * 3",
                "240",
                &[
                    ("prices['みかん ']  * 3", "KeyError: 'みかん '"),
                    (
                        "prices.みかん * 3",
                        "AttributeError: 'dict' object has no attribute 'みかん'",
                    ),
                ],
            ),
            task(
                "b2-total",
                "total = 0\nfor price in prices.values():\n    total += price\ntotal",
                "650",
                &[
                    (
                        "total = 0\nfor price in prices.values():\ntotal += price\ntotal",
                        "IndentationError: expected an indented block after 'for' statement on line 2 (3357126081.py, line 3)",
                    ),
                    (
                        "total = 0\nfor price in prices:\n    total += price\ntotal",
                        "TypeError: unsupported operand type(s) for +=: 'int' and 'str'",
                    ),
                ],
            ),
            text(
                "b2-hint",
                "**ヒント**: `items()` は鍵と値の両方を返します。",
            ),
            task(
                "b2-items",
                "for name, price in prices.items():\n    print(f'{name}は{price}円')",
                "",
                &[
                    (
                        "for name, price in prices:\n    print(f'{name}は{price}円')",
                        "ValueError: too many values to unpack (expected 2)",
                    ),
                    (
                        "for name, price in prices.item():\n    print(f'{name}は{price}円')",
                        "AttributeError: 'dict' object has no attribute 'item'. Did you mean: 'items'?",
                    ),
                ],
            ),
        ],
    },
    Notebook {
        path: "第3回/03_関数.ipynb",
        cells: &[
            text("c3-title", "# 関数\n再帰で階乗を計算しましょう。"),
            code("c3-import", "import math\nimport random", ""),
            task(
                "c3-factorial",
                "def factorial(n):\n    if n == 0:\n        return 1\n    return n * factorial(n - 1)\n\nfactorial(10)",
                "3628800",
                &[
                    (
                        "def factorial(n):\n    return n * factorial(n - 1)\n\nfactorial(10)",
                        "RecursionError: maximum recursion depth exceeded",
                    ),
                    (
                        "def factorial(n):\n    if n == 0:\n        return 1\n    return n * factorial(n - 1)\n\nfactorial()",
                        "TypeError: factorial() missing 1 required positional argument: 'n'",
                    ),
                ],
            ),
            task(
                "c3-check",
                "assert factorial(5) == math.factorial(5)\n'OK'",
                "'OK'",
                &[
                    ("assert factorial(5) == 121\n'OK'", "AssertionError: "),
                    ("factorail(5)", "NameError: name 'factorail' is not defined"),
                ],
            ),
            task(
                "c3-input",
                "n = int('12')\nfactorial(n)",
                "479001600",
                &[
                    (
                        "n = int('十二')\nfactorial(n)",
                        "ValueError: invalid literal for int() with base 10: '十二'",
                    ),
                    ("while True:\n    pass", "KeyboardInterrupt: "),
                ],
            ),
            code(
                "c3-dice",
                "[random.randint(1, 6) for _ in range(5)]",
                "[3, 1, 6, 6, 2]",
            ),
        ],
    },
];

pub(super) const FAMILY_NAMES: [(&str, &str); 24] = [
    ("佐藤", "sato"),
    ("鈴木", "suzuki"),
    ("高橋", "takahashi"),
    ("田中", "tanaka"),
    ("伊藤", "ito"),
    ("渡辺", "watanabe"),
    ("山本", "yamamoto"),
    ("中村", "nakamura"),
    ("小林", "kobayashi"),
    ("加藤", "kato"),
    ("吉田", "yoshida"),
    ("山田", "yamada"),
    ("佐々木", "sasaki"),
    ("山口", "yamaguchi"),
    ("松本", "matsumoto"),
    ("井上", "inoue"),
    ("木村", "kimura"),
    ("林", "hayashi"),
    ("清水", "shimizu"),
    ("山崎", "yamazaki"),
    ("森", "mori"),
    ("池田", "ikeda"),
    ("橋本", "hashimoto"),
    ("阿部", "abe"),
];

pub(super) const GIVEN_NAMES: [(&str, &str); 17] = [
    ("花子", "hanako"),
    ("太郎", "taro"),
    ("陽菜", "hina"),
    ("蓮", "ren"),
    ("結衣", "yui"),
    ("大翔", "hiroto"),
    ("さくら", "sakura"),
    ("悠真", "yuma"),
    ("美咲", "misaki"),
    ("湊", "minato"),
    ("葵", "aoi"),
    ("樹", "itsuki"),
    ("凛", "rin"),
    ("健太", "kenta"),
    ("ひなた", "hinata"),
    ("翔", "sho"),
    ("優", "yu"),
];

pub(super) const TEAMS: [&str; 8] = [
    "チームA",
    "チームB",
    "チームC",
    "チームD",
    "チームE",
    "チームF",
    "チームG",
    "チームH",
];
