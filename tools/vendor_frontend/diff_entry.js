// Of jsdiff, what the page shows changes with.
export { diffArrays, diffWordsWithSpace } from "diff";
