/**
 * Draws docs/console.png: a class of 30 with every kind of student in it.
 *
 * `npm run screenshot`, or `npm run screenshot -- dark` for the other scheme
 * (into shots/).
 */

import path from "node:path";
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

/** Everybody works; some fail, some are stuck, two ask for help. */
async function play(server, students) {
  for (let round = 0; round < 6; round += 1) {
    const working = students.filter((_, index) => (index * 7 + round * 3) % 5 !== 0);
    await server.accept(working.map((student) => student.runs(round, CODE[round % CODE.length])));
  }
  const failing = [3, 11, 17, 22].map((index) => students[index]);
  await server.accept(failing.map((student, index) => student.fails(6, ERRORS[index % ERRORS.length], CODE[2])));
  const stuck = [6, 18].map((index) => students[index]);
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await server.accept(stuck.map((student) => student.fails(5, ERRORS[1], CODE[1])));
  }
  await server.accept([students[13].runs(6, CODE[0]), students[13].asksForHelp()]);
  await server.accept([students[20].fails(4, ERRORS[0], CODE[0]), students[20].asksForHelp()]);
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
  await play(server, classOf(NAMES));
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
