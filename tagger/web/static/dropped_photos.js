// Photos dropped on another view, on their way to the view that tries them. The browser keeps them in between.

const NAME = "dropped-photos";
export const HASH = "#dropped";

/** Keeps these photos in place of earlier ones. */
export async function keepDropped(files) {
  await inStore((store) => (store.clear(), store.add(files)));
}

/** Returns the kept photos, which are removed. */
export async function takeDropped() {
  const [files] = await inStore((store) => {
    const kept = store.getAll();
    store.clear();
    return kept;
  });
  return files ?? [];
}

async function inStore(act) {
  const database = await openStore();
  try {
    const transaction = database.transaction(NAME, "readwrite");
    const request = act(transaction.objectStore(NAME));
    await new Promise((resolve, reject) => {
      transaction.addEventListener("complete", resolve);
      transaction.addEventListener("abort", () => reject(transaction.error));
    });
    return request.result;
  } finally {
    database.close();
  }
}

function openStore() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME);
    request.addEventListener("upgradeneeded", () => request.result.createObjectStore(NAME, { autoIncrement: true }));
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
