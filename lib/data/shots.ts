/** Worked examples to put before a problem: written for this package, in the form that the strict answer check reads. */
export const shots: readonly { readonly question: string; readonly solution: string }[] = [
  {
    question: "Mia has 14 pencils. She gives 5 of them to her brother. How many pencils does she have left?",
    solution: "Mia starts with 14 pencils and gives away 5. 14 - 5 = 9.\n#### 9",
  },
  {
    question: "A baker puts 6 rolls in each bag. How many rolls are in 7 bags?",
    solution: "Each bag has 6 rolls and there are 7 bags. 6 * 7 = 42.\n#### 42",
  },
  {
    question: "Tom read 12 pages on Monday and twice as many on Tuesday. How many pages did he read in both days?",
    solution: "On Tuesday he read 2 * 12 = 24 pages. In both days he read 12 + 24 = 36 pages.\n#### 36",
  },
  {
    question: "There were 31 birds in a tree. Some flew away, and now there are 18. How many birds flew away?",
    solution: "31 birds became 18. 31 - 18 = 13.\n#### 13",
  },
  {
    question: "Four friends share 60 dollars evenly. Each then spends 3 dollars. How many dollars does each have left?",
    solution: "Each gets 60 / 4 = 15 dollars. After spending 3, each has 15 - 3 = 12.\n#### 12",
  },
  {
    question: "A garden has 8 rows of 5 tulips and 10 roses. How many flowers are in the garden?",
    solution: "There are 8 * 5 = 40 tulips. With the roses that makes 40 + 10 = 50.\n#### 50",
  },
  {
    question: "Lena buys 3 notebooks for 4 dollars each and pays with 20 dollars. How much change does she get?",
    solution: "The notebooks cost 3 * 4 = 12 dollars. The change is 20 - 12 = 8.\n#### 8",
  },
  {
    question: "A train has 9 cars with 40 seats each. 250 seats are taken. How many seats are free?",
    solution: "The train has 9 * 40 = 360 seats. 360 - 250 = 110 are free.\n#### 110",
  },
];
