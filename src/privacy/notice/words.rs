//! What the page says, in each language.

/// The page's words in a language. Pieces of HTML, of our own.
pub(super) struct Words {
    /// As HTML names the language.
    pub(super) language: &'static str,
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
    pub(super) why: &'static str,
    pub(super) purpose: &'static str,
    pub(super) what: &'static str,
    pub(super) what_list: &'static [&'static str],
    pub(super) code_kept: &'static str,
    pub(super) code_not_kept: &'static str,
    pub(super) how_long: &'static str,
    /// `{}` stands for the number.
    pub(super) days: &'static str,
    pub(super) one_day: &'static str,
    pub(super) for_ever: &'static str,
    /// What outlives the term, and for how long (docs/operations.md).
    pub(super) stays_longer: &'static str,
    pub(super) in_backups: &'static str,
    pub(super) who_sees: &'static str,
    pub(super) who_sees_text: &'static str,
    pub(super) rights: &'static str,
    pub(super) rights_list: &'static [&'static str],
    pub(super) whom_to_ask: &'static str,
    pub(super) controller: &'static str,
    pub(super) contact: &'static str,
    pub(super) nobody_named: &'static str,
}

pub(super) const JAPANESE: Words = Words {
    language: "ja",
    title: "授業で記録される情報について",
    lead: "この授業では、ノートブックでの作業のようすを Mimamori（見守り）というシステムに記録しています。\
           何を、何のために、いつまで残すのかを説明します。",
    why: "何のために",
    purpose: "授業中に、困っている人や助けを求めている人に教員がすぐ気づけるようにするため、\
              また、授業をあとから振り返り、教え方を改善するためです。",
    what: "何を記録するか",
    what_list: &[
        "ノートブックの拡張機能に設定した<strong>メールアドレス、名前、チーム名</strong>",
        "ノートブックを<strong>開いた・保存した・閉じた</strong>日時とファイル名",
        "セルの<strong>実行</strong>：日時、どのセルか、どう終わったか（成功、エラー、中断など）",
        "<strong>ヘルプ</strong>ボタンを押した日時と取り消した日時",
        "これらから分かること：作業していた時間、同じセルでエラーが続いていること、など",
        "拡張機能が自動で付ける技術的な情報（JupyterLab のセッション番号、処理時間など）",
        "受け付けられなかったデータ（設定の間違いを見つけるため）",
    ],
    code_kept: "実行したセルの<strong>コード、出力、エラーメッセージも保存します</strong>（それぞれ最大 256 KiB）。",
    code_not_kept: "セルの<strong>コード、出力、エラーメッセージは保存しません</strong>。届いた時点で捨てられます。\
                    エラーについては種類（たとえば NameError）だけが残ります。",
    how_long: "いつまで残すか",
    days: "{}日間保存し、その後は自動的に削除します。",
    one_day: "1日間保存し、その後は自動的に削除します。",
    for_ever: "保存期間は決められていません。削除されるまで残ります。",
    stays_longer: "名前、メールアドレス、チーム名、ファイル名は、あなたの最後の記録の期限からさらに48時間残ります。\
                   授業中の画面のための最新の状態（名前、最後に使ったセル、回数）と、\
                   サーバーが最後に受け取ったひとまとまりのデータ（次のデータが届くまで）は、期限を過ぎても残ることがあります。",
    in_backups: "サーバーの運用者がバックアップをとっている場合、その中の記録はバックアップが入れ替わるときに消えます。",
    who_sees: "誰が見るか",
    who_sees_text: "この授業の教員とアシスタント、そしてサーバーの管理者です。ほかの受講者には見えません。\
                    画面に出る状態やお知らせは決まった規則で計算されたもので、それだけで何かが決まることはありません。",
    rights: "あなたができること",
    rights_list: &[
        "自分の記録のすべてを<strong>受け取る</strong>ことができます。",
        "自分の記録を<strong>消してもらう</strong>ことができます。",
        "自分の記録を<strong>研究に使わない</strong>よう求めることができます。書き出されるデータから除かれます。",
    ],
    whom_to_ask: "問い合わせ先",
    controller: "責任者",
    contact: "連絡先",
    nobody_named: "授業の担当教員に尋ねてください。",
};

pub(super) const ENGLISH: Words = Words {
    language: "en",
    title: "What is kept of your work",
    lead: "In this class, what happens in your notebook is recorded by a system named Mimamori (見守り). \
           This page says what is kept, why, and for how long.",
    why: "Why",
    purpose: "So that instructors see during the class who is stuck or asks for help, \
              and can look back on a class and teach the next one better.",
    what: "What is kept",
    what_list: &[
        "The <strong>address, name and team</strong> that are set in the notebook’s extension",
        "When a notebook was <strong>opened, saved or closed</strong>, and its file name",
        "Each <strong>run of a cell</strong>: when, which cell, and how it ended (well, with an error, interrupted …)",
        "When you asked for <strong>help</strong>, and when that ended",
        "What follows from these: when you worked, that errors on one cell came in a row",
        "What the extension adds by itself: the number of your JupyterLab session, times that it measured, and the like",
        "Data that could not be taken, to find out what is set up wrong",
    ],
    code_kept: "<strong>The code of the cells that you run, their outputs and error messages are stored too</strong>, \
                each up to 256 KiB.",
    code_not_kept: "<strong>Code, outputs and error messages are not stored.</strong> They are dropped as they arrive; \
                    of an error only its kind stays (NameError, for example).",
    how_long: "For how long",
    days: "For {} days; then it is deleted automatically.",
    one_day: "For 1 day; then it is deleted automatically.",
    for_ever: "No term is set: it stays until it is deleted.",
    stays_longer: "Your name, address, team and file names stay 48 hours longer than the last that is kept of you. \
                   Your latest state, by which the class is shown live (name, last cell, counts), and the last batch of data \
                   that the server took in, until more follows, may stay beyond the term.",
    in_backups: "In backups that whoever runs the server may make, it is gone when those are replaced.",
    who_sees: "Who sees it",
    who_sees_text: "The instructors and assistants of this class, and whoever administers the server; no other student. \
                    The statuses and notes that they see are computed by fixed rules, and decide nothing by themselves.",
    rights: "What you can do",
    rights_list: &[
        "You can <strong>have a copy</strong> of everything that is kept of you.",
        "You can <strong>have it erased</strong>.",
        "You can refuse its <strong>use for research</strong>: it is then left out of the data that is exported.",
    ],
    whom_to_ask: "Whom to ask",
    controller: "Responsible",
    contact: "Contact",
    nobody_named: "Ask the instructor of your class.",
};
