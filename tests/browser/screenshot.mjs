/**
 * Draws docs/console.png: a class of 30 with every kind of student in it.
 *
 * `npm run screenshot`, or `npm run screenshot -- dark` for the other scheme
 * (into shots/).
 */

import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { launch, Tab } from "./chromium.mjs";
import { Server } from "./server.mjs";
import { StudentAtWork } from "./students.mjs";

const NAMES = [
  ...["山田 花子", "佐藤 太郎", "鈴木 一郎", "高橋 みなみ", "田中 健", "渡辺 さくら", "伊藤 翔", "中村 結衣"],
  ...["小林 蓮", "加藤 美咲", "吉田 大輝", "山本 葵", "松本 陽菜", "井上 悠斗", "木村 莉子", "清水 颯太"],
  ...["Anna Schmidt", "John Smith", "Léa Dubois", "Mateo García", "Nguyễn Văn An", "Priya Sharma", "Liam O’Brien"],
  ...["斎藤 凛", "森 海斗", "池田 杏", "橋本 湊", "Sofia Rossi", "Emma Larsen", "岡田 樹"],
];

const CODE = [
  "import pandas as pd\ndf = pd.read_csv('売上.csv')",
  "df.groupby('店舗')['売上'].sum()",
  "for row in df.itertuples():\n    print(row.売上)",
  "df.plot(x='月', y='売上')",
];

const ERRORS = [
  "NameError: name 'df' is not defined",
  "KeyError: '売上'",
  "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
];

function classOf(names) {
  return names.map(
    (name, index) =>
      new StudentAtWork(name, {
        team: `チーム${"ABCDEF"[index % 6]}`,
        notebook: index % 5 === 0 ? "第3回/発展.ipynb" : "第3回/演習.ipynb",
      }),
  );
}

/** Between two steps of the class, so that the picture has ages in it. */
const STEP_MS = 4_000;

/** Everybody works at a pace of their own; some fail, some are stuck, two ask for help. */
async function play(server, students) {
  const [first, second] = [students[13], students[20]];
  for (let step = 0; step < 12; step += 1) {
    const working = students.filter((_, index) => (index * 7 + step * 5) % 11 < 3);
    const events = working.map((student) => student.runs(cellOf(student, students, step), CODE[step % CODE.length]));
    if (step === 2) events.push(first.runs(6, CODE[0]));
    if (step === 7) events.push(second.fails(4, ERRORS[0], CODE[0]));
    // a notebook repeats its call for help
    if (step >= 3 && step % 2 === 1) events.push(first.asksForHelp());
    if (step >= 8 && step % 2 === 0) events.push(second.asksForHelp());
    await server.accept(events);
    await setTimeout(STEP_MS);
  }
  const failing = [3, 11, 17, 22].map((index) => students[index]);
  await server.accept(failing.map((student, index) => student.fails(7, ERRORS[index % ERRORS.length], CODE[2])));
  const stuck = [6, 18].map((index) => students[index]);
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await server.accept(stuck.map((student) => student.fails(5, ERRORS[1], CODE[1])));
    await setTimeout(STEP_MS / 4);
  }
  await server.accept([1, 9, 25].map((index) => students[index].runs(8, CODE[3])));
}

function cellOf(student, students, step) {
  return Math.min(9, (students.indexOf(student) % 4) + Math.floor(step / 2));
}

const scheme = process.argv[2] === "dark" ? "dark" : "light";
const server = await Server.start();
const browser = await launch();
try {
  const tab = await Tab.open(browser, {
    viewport: { width: 1280, height: 800 },
    colorScheme: scheme,
    timezoneId: "Asia/Tokyo",
  });
  await tab.page.goto(await server.signInLink());
  await tab.seesConnection("live");
  const students = classOf(NAMES);
  await server.accept(students.map((student) => student.opens()));
  await play(server, students);
  await tab.until(() => document.querySelectorAll("tbody tr").length === 30);
  await tab.until(() => document.querySelectorAll("tbody tr.help").length === 2);
  await tab.until(() => document.querySelectorAll("tbody tr.stuck").length === 2);
  // the order follows within its pause
  await tab.until(() => [...document.querySelectorAll("tbody tr")].slice(0, 2).every((row) => row.matches(".help")));
  await tab.until(() => [...document.querySelectorAll("tbody tr")].slice(2, 4).every((row) => row.matches(".stuck")));
  const file =
    scheme === "dark"
      ? path.join(fileURLToPath(new URL("shots", import.meta.url)), "console-dark.png")
      : fileURLToPath(new URL("../../docs/console.png", import.meta.url));
  await tab.page.screenshot({ path: file });
} finally {
  await browser.close();
  await server.stop();
}
