export default (): Response => {
  throw new Error("a secret reason")
}
