export default (): Response => {
  while (true);
}
