// Pictures that were dropped, pasted or chosen: kept in this page by a key, sent as data URIs.

const MOST_BYTES = 4 * 1024 * 1024; // what is larger, or of a kind that servers may not read, is drawn anew, smaller
const SIDE_PX = 1536;
const SENT_AS_IT_IS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const kept = new Map();

export const dataOf = (key) => kept.get(key);

// The keys of these files, in their order.
// Throws an Error whose message can be shown when one of them is no picture.
export async function keep(files) {
  const keys = [];
  for (const file of files) {
    const data = await dataUri(file);
    const key = `${Date.now()}-${kept.size}`; // unlike those of an earlier visit, which the history may still name
    kept.set(key, data);
    keys.push(key);
  }
  return keys;
}

async function dataUri(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error(`${file.name || "This"} is not a picture that this browser can open.`);
  if (file.size <= MOST_BYTES && SENT_AS_IT_IS.includes(file.type)) return read(file);
  const scale = Math.min(1, SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // as the server lays transparent pictures on white
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
