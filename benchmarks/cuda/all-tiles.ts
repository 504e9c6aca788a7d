/** What was counted of a layer with blocks left out (CUDASIM_SAMPLE), corrected for kernels whose blocks differ. */
import type { LayerCounts, ProductCounts } from "../../lib/index.js";
import { countedTiles } from "./estimate-wgmma.js";
import { tilingOf } from "./product-time.js";

/**
 * The layer's counters as if every tile of its products had been counted. `rows`: those that it was counted with.
 *
 * A block of kernels/product_sm90.cu makes several tiles, and not all blocks the same number: where a middle one stood for
 * the others, the sums are of more or of fewer tiles than there are. Those of other kernels are right as they are.
 */
export function withAllTiles(layer: LayerCounts, rows: number): LayerCounts {
  const all = (products: readonly ProductCounts[]) => products.map((one) => scaled(one, rows));
  return { ...layer, forward: all(layer.forward), backward: all(layer.backward), decode: all(layer.decode) };
}

function scaled(counts: ProductCounts, rows: number): ProductCounts {
  const { product } = counts;
  if (!product.kernel.endsWith("_sm90")) return counts;
  const tiling = tilingOf(counts, rows, 1);
  const times = tiling.tiles / countedTiles(product, tiling);
  const { executed, mma, sectors = 0 } = product;
  return { ...counts, product: { ...product, executed: times * executed, mma: times * mma, sectors: times * sectors } };
}
