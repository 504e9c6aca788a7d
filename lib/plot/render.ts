/** Figures through vega-lite, in Node alone; the packages are loaded where something is drawn. */
import type { TopLevelSpec } from "vega-lite";
import type { Figure } from "./figure.js";

export async function renderSvg({ title, rows, layers }: Figure): Promise<string> {
  const [{ compile }, { parse, View }] = await Promise.all([import("vega-lite"), import("vega")]);
  const spec: TopLevelSpec = {
    title: { text: title, anchor: "start" },
    width: 560,
    height: 360,
    padding: 12,
    background: "white",
    data: { values: [...rows] },
    layer: layers,
    config: {
      axis: { gridColor: "#e4e4e4", titlePadding: 10 },
      legend: { labelLimit: 0, symbolOpacity: 1 },
      view: { stroke: null },
    },
  };
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

export async function renderPng(svg: string): Promise<Uint8Array> {
  const { Resvg } = await import("@resvg/resvg-js");
  return new Resvg(svg, { fitTo: { mode: "zoom", value: 2 } }).render().asPng();
}

/** Whether this system has a font: without one, text is left out of PNG files. */
export async function canDrawText(): Promise<boolean> {
  const { Resvg } = await import("@resvg/resvg-js");
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">x</text></svg>';
  return new Resvg(svg).getBBox() !== undefined;
}
